"""The named doubts of a verdict: each thing that would change the answer if it were otherwise."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slotfill.analyse import constants
from slotfill.analyse.causal_edges import LIMIT, Findings, processors
from slotfill.analyse.causes import LOCK, POOL, QUEUES, Leaves
from slotfill.analyse.choice import Choice
from slotfill.analyse.document import Doubt
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.hops import SERVER_PROFILE

_ONE_AT_A_TIME = ("api_workers", "serialised_allocator")
_WEB = ("api", "allocator")


@dataclass(frozen=True)
class Weighed:
    """What a verdict was chosen from, and what became of it."""

    found: Leaves
    choice: Choice
    steady: Choice
    """The choice without the slowest attempts."""
    settled: Choice | None
    """The choice without the first half of each level, where first bookings are slower."""
    mechanism: str
    unnamed: bool
    """What it grows by has no name."""
    hogged: tuple[str, ...]
    """The levels at which processes of others used the machine."""


def doubts_of(case: Measurements, findings: Findings, weighed: Weighed) -> Iterator[Doubt]:
    """Each thing that would change the answer if it were otherwise."""
    rows, labels = case.accounts.measured, case.accounts.labels
    found, choice = weighed.found, weighed.choice
    blind = tuple(sorted(rows.loc[rows["tier"] > SERVER_PROFILE, "label"].unique()))
    if rows["database_ms"].isna().any():
        yield Doubt("undivided", "nothing tells how much of the API's and the allocator's time is the database's")
    elif blind:
        yield Doubt("no_profile", f"the server's profile of its own times is missing at {', '.join(blind)}", blind)
    elif not case.utilisations and choice.name not in (POOL, LOCK) and _samples_would_tell(choice):
        yield Doubt("not_sampled", "statements and processor time were sampled too rarely or not at all")
    if choice.name == POOL and rows.loc[(rows["tier"] != SERVER_PROFILE).to_numpy(), "estimated"].any():
        yield Doubt(
            "pool_inferred", "waiting for a connection of the pool is inferred: no session and no call shows it"
        )
    sizes = rows.groupby("label")["cluster"].agg(["size", "nunique"])
    few = (sizes["nunique"] < constants.FEW_SLOTS) | (sizes["size"] < constants.FEW_ATTEMPTS)
    if few.any():
        thin = tuple(map(str, sizes.index[few]))
        yield Doubt("too_few", f"too few attempts or slots were measured at {', '.join(thin)}", thin)
    if len(labels) == 1:
        yield Doubt("one_level", "only one level was measured", labels)
    if choice.name != weighed.steady.name or (len(labels) > 1 and choice.saturates[0] != weighed.steady.saturates[0]):
        yield Doubt("few_attempts_decide", "without the slowest eighth of the attempts the answer is another one")
    if weighed.settled is not None and weighed.settled.name != choice.name:
        yield Doubt(
            "warm_up_decides", "without the first half of each level, which warms up, the answer is another one"
        )
    if _close(choice):
        yield Doubt("close", "another cause comes close")
    if constants.QUEUED < found.transferred < 1 - constants.QUEUED or _inside_is_larger(choice, found):
        yield Doubt("inner_or_outer", "what limits may lie inside what attempts wait for")
    if choice.name[1] in ("cpu", *_ONE_AT_A_TIME) and choice.name[0] in _WEB and processors(case).one_core_perhaps:
        yield Doubt("one_core", "a web process that fills one core cannot be told from one that admits one at a time")
    if choice.saturates[0] and choice.name[1] not in QUEUES and len(labels) > 1 and not weighed.unnamed:
        yield Doubt("grows_unexplained", "it grows with concurrency and nothing that was found explains it")
    if weighed.unnamed:
        hop = choice.name[0]
        text = f"the {hop} takes longer with concurrency, and a machine that is full explains that as well"
        yield Doubt("machine_grows", text)
    if weighed.hogged:
        yield Doubt(
            "others_computed", f"processes of others used the machine at {', '.join(weighed.hogged)}", weighed.hogged
        )
    if weighed.mechanism in findings and not findings[weighed.mechanism].holds:
        yield Doubt("not_observed", "the mechanism was not seen at work")


def _samples_would_tell(choice: Choice) -> bool:
    """Whether a hop's own time is computing, which grows with concurrency; and which statements the database's is."""
    return choice.name[0] == "database" or (choice.name[0] in _WEB and bool(choice.saturates[0]))


def _close(choice: Choice) -> bool:
    """Another leaf of the sample is nearly as large."""
    ordered = np.sort(choice.worth[0])
    return bool(len(ordered) > 1 and ordered[-2] >= constants.CLOSE * ordered[-1])


def _inside_is_larger(choice: Choice, found: Leaves) -> bool:
    """What is done on a connection takes longer than waiting for one that the server has left."""
    if choice.name != LIMIT:
        return False
    return any(float(found.at(name)[0]) > float(found.at(LIMIT)[0]) for name in found.own if name[0] == LIMIT[0])
