"""What can happen to a log: each takes a log and another one, and gives the first back damaged."""

import random
from collections.abc import Callable

Damage = Callable[[random.Random, bytes, bytes], bytes]


def flip_bits(rng: random.Random, log: bytes, _: bytes) -> bytes:
    damaged = bytearray(log)
    for _ in range(rng.randint(1, 20)):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut(rng: random.Random, log: bytes, _: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(log) + 1) for _ in range(2))
    return rng.choice([log[:start] + log[end:], log[:end], log[start:]])


def splice(rng: random.Random, log: bytes, other: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(other) + 1) for _ in range(2))
    at = rng.randrange(len(log) + 1)
    return log[:at] + other[start : min(end, start + 5000)] + log[at:]


def interleave(rng: random.Random, log: bytes, other: bytes) -> bytes:
    ours, theirs = log.splitlines(keepends=True), other.splitlines(keepends=True)[: rng.randint(1, 60)]
    slots = sorted(rng.randrange(len(ours) + 1) for _ in theirs)
    for at, line in zip(reversed(slots), reversed(theirs), strict=True):
        ours.insert(at, line)
    return b"".join(ours)


def scramble(rng: random.Random, log: bytes, _: bytes) -> bytes:
    at = rng.randrange(len(log))
    return log[:at] + rng.randbytes(rng.randint(1, 200)) + log[at + rng.randint(0, 200) :]


DAMAGES: tuple[Damage, ...] = (flip_bits, cut, splice, interleave, scramble)
