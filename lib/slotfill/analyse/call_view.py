"""What is shown of the platform's calls: the part of the typed document that a report draws as waterfalls and a table.

Times are ms; offsets count from the first byte of the request. Only calls before the answer are here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Join = Literal["trace", "time", "estimate", "incomplete"]
"""How a call was given to its attempt: by its trace, by being the only one in flight, or shared out among several. Of
an incomplete attempt the server span was lost, and perhaps calls with it, so that no time of it is known."""
Which = Literal["median", "slowest"]


@dataclass(frozen=True)
class Bar:
    """One call. ``repeat`` counts the calls that ask the very same: 1 for the first, and where that is not known."""

    offset_ms: float
    duration_ms: float
    method: str
    target: str
    status: str | None
    failed: bool
    on_chain: bool
    """Belongs to the calls one after another that take the most time together."""
    repeat: int

    @property
    def name(self) -> str:
        return f"{self.method} {self.target}".strip()


@dataclass(frozen=True)
class Waterfall:
    """The calls of one attempt in the order of their starts; ``handler_ms`` is its request's time outside them all."""

    which: Which
    correlation_id: str
    label: str
    joined: Join
    request_ms: float
    handler_ms: float
    in_a_row: int
    """The most calls of which none begins before another ended, about: clocks give whole milliseconds."""
    after_answer: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class TargetCalls:
    """The calls of a level to one table or function by one method, for each attempt.

    ``share`` is of the level's time inside calls, ``chain_share`` of the time on the longest chain; ``repeats`` are
    calls that asked the very same again, ``in_a_row`` those that stand one after another. ``None``: not known, because
    the calls were shared out among attempts.
    """

    label: str
    target: str
    method: str
    calls_per_attempt: float
    mean_ms: float
    share: float
    chain_share: float | None
    in_a_row: float | None
    repeats: float | None
    errors: float

    @property
    def name(self) -> str:
        return f"{self.method} {self.target}".strip()


@dataclass(frozen=True)
class CallView:
    """``attempts``: how many of each level were joined to their calls, by the ``Join``; ``unseen`` of those no span."""

    source: Literal["spans", "taps"]
    attempts: Mapping[str, Mapping[str, int]]
    targets: tuple[TargetCalls, ...]
    waterfalls: tuple[Waterfall, ...]
    tap_adds_ms: float | None = None
    """What a tap itself adds to a call, which is in none of these figures."""
    together_ms: float | None = None
    """What an attempt would save at most, were its reads that follow one another made at once."""
    together_level: str | None = None
    """Which level's attempt that is: the lowest where it is known whose the calls are."""
    about: bool = False
    """Whether clocks give whole milliseconds, so that calls one after another are counted within one."""
    moved: int = 0
    """Attempts outside of which their server span lay, as where clocks differ; their calls were moved into them."""
    moved_ms: float | None = None
    """The farthest of these ways."""
    lost_spans: int = 0
    lost_bodies: int = 0
    """What was sent and not kept: spans between levels or to a full disk, and bodies refused or unreadable."""
