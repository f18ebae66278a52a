"""What would settle an open question: steps that can be done, without those that were done already."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from slotfill.analyse.document import Bottleneck
from slotfill.analyse.hops import SERVER_PROFILE, TIER_NAMES, TRACES
from slotfill.analyse.utilisation import utilisation

_PROFILE = (
    "switch `DEBUG_CAPACITY_PROFILING` on at the platform (`profiling: true` on the embedded one) and read the "
    "server's log of the run too (`--server-log FILE`, or `server_log:` of a run)"
)
_SEE_INSIDE = (
    "let Slotfill see the platform's calls while it drives: `otlp_listen: 127.0.0.1:4318` for its OpenTelemetry spans, "
    "or `taps:` between it and its database"
)
_SAMPLE = "drive the load with `slotfill run` and a `sample_interval_ms` above 0, which samples the database"
_HOST = (
    "run `slotfill run`, with a `sample_interval_ms` above 0, on the machine that the platform runs on: "
    "processor time is read there only"
)
_LONGER = (
    "make the levels longer (more slots, a larger `stress_max`) or `sample_interval_ms` smaller: "
    "samples were taken, but fewer than five fell into a level"
)
_LEVELS = "run the same plan at other levels too (`concurrency: [1, 4, 8]`)"
_TELLING = (TIER_NAMES[TRACES], TIER_NAMES[SERVER_PROFILE])
"""The tiers that tell the database's time from the rest of the handler's."""
_ATTEMPTS = "fill more slots, or more bookings into each (`stress_max`)"

_BY_SAMPLES = ("slow_query",)
_BY_PROFILE = ("round_trips", "api_delay")
_BY_EITHER = ("pool_wait", "lock_wait", "connection_limit", "deadlock")
_BY_PROFILE_AND_LEVELS = ("api_workers", "serialised_allocator")
_BY_HOST = ("cpu", "host_cpu", "cpu_hog")
_BY_ATTEMPTS = ("noise", "warm_up")


@dataclass(frozen=True)
class AvailableData:
    """Which data there are: samples at all, enough of them at every level; the server's profile; several levels.

    ``can_profile``: the platform is known to print its profile where it is told to; most print nothing.
    """

    samples: bool
    sampled: bool
    profiled: bool
    levels: bool
    can_profile: bool = False


def available_data(
    attempts: pd.DataFrame, samples: Mapping[str, pd.DataFrame], document: Bottleneck, can_profile: bool
) -> AvailableData:
    """``samples``: a frame a label; ``document``: as analysed."""
    enough = [
        str(label) in samples
        and utilisation(samples[str(label)], attempts[(attempts["label"] == label).to_numpy()]) is not None
        for label in attempts["label"].unique()
    ]
    return AvailableData(
        samples=bool(samples),
        sampled=all(enough),
        profiled=all(tier.tier in _TELLING for tier in document.tiers),
        levels=len(document.labels) > 1,
        can_profile=can_profile,
    )


def with_next_steps(document: Bottleneck, have: AvailableData) -> Bottleneck:
    """The document with what each open question needs said as a step, in ``findings`` and in ``limits`` alike."""
    steps = {found.name: _step(found.name, have) for found in document.findings if found.verdict == "unknown"}
    return replace(
        document,
        findings=tuple(replace(found, needs=steps.get(found.name) or found.needs) for found in document.findings),
        limits=tuple(replace(limit, needs=steps.get(str(limit.finding)) or limit.needs) for limit in document.limits),
    )


def _step(name: str, have: AvailableData) -> str:
    """What is missing of what the finding rests on; empty where nothing is known to be."""
    samples = "" if have.sampled else _LONGER if have.samples else _SAMPLE
    profile = "" if have.profiled else _PROFILE if have.can_profile else _SEE_INSIDE
    levels = "" if have.levels else _LEVELS
    if name in _BY_HOST:
        return _LONGER if have.samples and not have.sampled else _HOST
    if name in _BY_SAMPLES:
        return samples
    if name in _BY_PROFILE:
        return profile
    if name in _BY_EITHER:
        return " or ".join(filter(None, [profile, samples])) if not (have.profiled or have.sampled) else ""
    if name in _BY_PROFILE_AND_LEVELS:
        return ", and ".join(filter(None, [profile, levels]))
    if name == "seat_waste":
        return levels
    return _ATTEMPTS if name in _BY_ATTEMPTS else ""
