"""The verdict: which hop, by what mechanism, saturation or constant cost, and how probably.

1. Outcomes that decide before time does: bookings turned away by a full venue, a rate limit, or a database
   without a connection left.
2. The largest leaf at the highest load (``causes``), with the few causal edges that time alone cannot show.
3. Its kind: saturation where at least half of the leaf is owed to others. One level alone shows no kind, nor does
   growth that a machine shared with client and database explains as well as the platform does.
4. How probable: the share of resamples that give the same hop, mechanism and kind, lowered only by named doubts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from slotfill.analyse import constants
from slotfill.analyse.causes import (
    HELD_OVER,
    LOCK,
    PERMIT,
    POOL,
    QUEUES,
    STARVED,
    WORKERS,
    Leaves,
    Name,
    Processors,
    leaves,
)
from slotfill.analyse.document import CONSTANT_COST, SATURATION, TIE, UNKNOWN, Doubt, Finding, Leaf, Prediction
from slotfill.analyse.findings.database import slow_share
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.hops import SERVER_PROFILE
from slotfill.analyse.ledger import PARTS, PARTS_OF, Fit, Ledger, fit, ledger
from slotfill.analyse.metrics import metrics
from slotfill.analyse.prediction import halved, limit_per_min, loop_ms, service_ms
from slotfill.analyse.stats import Floats, ratio
from slotfill.attempt import EXHAUSTED, is_confirmed

Findings = Mapping[str, Finding]
DELAY: Name = ("queue", "queue_delay")
POLL: Name = ("client", "poll_interval")
LIMIT: Name = ("database", "connection_limit")
CPU_MECHANISM = "cpu"
_ONE_AT_A_TIME = ("api_workers", "serialised_allocator")
_WEB = ("api", "allocator")


@dataclass(frozen=True)
class Verdict:
    """``hop`` is one of the hops, ``venue`` or ``tie`` (``tied`` has both); ``leaves`` is what it was chosen from."""

    hop: str
    mechanism: str
    kind: str
    probability: float
    doubts: tuple[Doubt, ...] = ()
    tied: tuple[str, ...] = ()
    leaves: tuple[Leaf, ...] = ()
    prediction: Mapping[str, Prediction] = field(default_factory=dict)
    throughput_limit_per_min: float | None = None


@dataclass(frozen=True)
class _Choice:
    """What the sample and each resample (rows) name, of ``names``, and whether it saturates; ``worth`` in ms."""

    names: list[Name]
    best: np.ndarray
    saturates: np.ndarray
    worth: Floats

    @property
    def name(self) -> Name:
        return self.names[int(self.best[0])]

    @property
    def agreement(self) -> float:
        """The share of resamples that say the same as the sample."""
        same = (self.best[1:] == self.best[0]) & (self.saturates[1:] == self.saturates[0])
        return float(same.mean())

    def rival(self) -> tuple[str, float]:
        """The other hop that wins most often, and in which share of the resamples."""
        hops = np.array([hop for hop, _ in self.names])[self.best[1:]]
        names, counts = np.unique(hops[hops != self.name[0]], return_counts=True)
        return (str(names[counts.argmax()]), float(counts.max() / len(hops))) if len(names) else ("", 0.0)


def decide(case: Measurements, findings: Findings) -> Verdict:
    """The verdict on a run, see above."""
    turned_away = _turned_away(case, findings)
    if turned_away is not None:
        return turned_away
    whole, hogged = case, _hogged(case)
    case, crowded = _alike(case, hogged)
    accounts = case.accounts
    book = ledger(accounts)
    one_level = len(accounts.labels) == 1
    fitted, robust = fit(book), fit(book, robust=True)
    found = _leaves(case, findings, book, fitted)
    choice, steady = _choose(found, fitted), _choose(_leaves(case, findings, book, robust), robust)
    hop, mechanism = choice.name
    starved = crowded and _starved(case)
    if starved:
        mechanism = CPU_MECHANISM
    kind = UNKNOWN if one_level else SATURATION if choice.saturates[0] else CONSTANT_COST
    # A machine that others fill is full at every level, so what grows on it says nothing of the platform's queues.
    unnamed = kind == CONSTANT_COST and not starved and _grows_without_a_name(choice.name, found, fitted)
    if unnamed:
        kind = UNKNOWN
    agreement = float((choice.best[1:] == choice.best[0]).mean()) if one_level else choice.agreement
    doubts = tuple(_doubts(whole, findings, choice, steady, found, unnamed, hogged, mechanism))
    probability = min([agreement, *(constants.CAPS[doubt.name] for doubt in doubts)])
    shown = _shown(found, fitted)
    rival, wins = choice.rival()
    if wins >= constants.TIE_SHARE and choice.agreement < 1 - constants.TIE_SHARE:
        told = Doubt("tie", f"the {rival} costs most in {wins:.0%} of the resamples", share=wins)
        probability = min(probability, constants.CAPS["tie"])
        return Verdict(TIE, f"{hop} and {rival}", kind, probability, (told, *doubts), (hop, rival), shown)
    per_min = {level["label"]: level["throughput_per_min"] or 0.0 for level in metrics(case.attempts)["levels"]}
    buys = halved(found, fitted, accounts.labels, case.attempts, per_min, hop)
    limit = limit_per_min(found, fitted, hop) if kind == SATURATION else None
    if limit is not None and limit < max(per_min.values()):
        limit = None  # the law is straight, and what was measured is more
    return Verdict(hop, mechanism, kind, probability, doubts, (), shown, buys, limit)


def _turned_away(case: Measurements, findings: Findings) -> Verdict | None:
    attempts = max(len(case.attempts), 1)
    exhausted = findings["exhaustion"].figures
    if findings["exhaustion"].holds and exhausted["exhausted"] > exhausted["confirmed"]:
        return Verdict("venue", "exhaustion", CONSTANT_COST, _sure(case))
    limited = findings["rate_limit"]
    if limited.holds and max(limited.figures["share"], limited.figures["paced_share"]) >= constants.TURNED_AWAY:
        return Verdict("api", "rate_limit", SATURATION, _sure(case))
    refused = findings["connection_limit"].figures.get("refusals", 0) / attempts
    # A refusal that was tried again costs time, which the leaves have; one that cost the booking does not show there.
    lost = float((~is_confirmed(case.attempts) & (case.attempts["outcome"] != EXHAUSTED)).sum()) / attempts
    if min(refused, lost) >= constants.DEADLOCK_RATE:
        sure = _sure(case) if refused >= constants.REFUSED_PLAINLY else constants.REFUSED_CAP
        return Verdict("database", "connection_limit", SATURATION, min(sure, _sure(case)))
    return None


def _sure(case: Measurements) -> float:
    """Counted, not estimated: as sure as so many attempts allow (rule of succession)."""
    return (len(case.attempts) + 1) / (len(case.attempts) + 2)


def _leaves(case: Measurements, findings: Findings, book: Ledger, fitted: Fit) -> Leaves:
    """The leaves with the causal edges applied, and named for what was found."""
    rows = case.accounts.measured
    divided = bool(rows["database_ms"].notna().all())
    profiled = bool((rows["tier"] <= SERVER_PROFILE).all())
    slow = slow_share(case, float(fitted.at[0, PARTS.index("statements")]))
    crowded = case.accounts.top in _hogged(case)
    found = leaves(book, fitted, processors(case) if divided else Processors(), profiled, slow, crowded)
    own, waits = dict(found.own), dict(found.waits)
    if not divided:
        _undivided(own, waits)
    _late_jobs(case, findings, own, waits)
    if findings["connection_limit"].holds:
        _rename(own, waits, POOL, LIMIT)
    if _deadlocks(findings):
        _deadlocked(case, findings, own, waits, divided)
    for name in ("enumeration", "cold_start"):
        if findings[name].holds:
            _carve(own, waits, str(findings[name].hop), name, findings[name].cost_ms)
    return Leaves(own, waits, found.transferred, found.utilisation)


def processors(case: Measurements) -> Processors:
    """Processor time by process over all sampled levels, and the cores that others leave at the busiest."""
    sampled = [case.utilisations[label] for label in case.accounts.labels if label in case.utilisations]
    sampled = [each for each in sampled if each.cores]
    attempts = sum(each.attempts for each in sampled)
    if not attempts:
        return Processors()
    kinds = {kind for each in sampled for kind in each.cores}
    demands = {
        kind: sum(each.cores.get(kind, 0.0) * each.ms_per_core * each.attempts for each in sampled) / attempts
        for kind in kinds
    }
    web = max(each.cores.get("web", 0.0) * each.seconds / max(each.active_seconds, 1e-9) for each in sampled)
    return Processors(demands, min(each.capacity(case.cpus or 1) for each in sampled), web)


def _rename(own: dict[Name, Floats], waits: dict[Name, Floats], old: Name, new: Name) -> None:
    for columns in (own, waits):
        columns[new] = columns.get(new, 0.0) + columns.pop(old)


def _undivided(own: dict[Name, Floats], waits: dict[Name, Floats]) -> None:
    """Without the server's own times a hop's cost is its steps one after another, and its waiting has no name."""
    for hop, cost, queue in (("api", "api_delay", "api_workers"), ("allocator", "serialised_allocator", "")):
        steps, waiting = (hop, "sequential_work"), waits.pop((hop, queue)) if queue else waits[hop, cost]
        own[steps] = own.pop((hop, cost)) + own.pop((hop, CPU_MECHANISM))
        own.pop((hop, queue), None)
        waits.pop((hop, cost), None)
        waits.pop((hop, CPU_MECHANISM), None)
        waits[steps] = waiting


def _late_jobs(case: Measurements, findings: Findings, own: dict[Name, Floats], waits: dict[Name, Floats]) -> None:
    """Jobs that no worker takes wait at every load; and a client polls because what it polls for is late."""
    finished, jobs = (findings["starved_queue"].figures.get(name) for name in ("jobs_finished", "jobs"))
    unserved = finished is not None and jobs is not None and finished < jobs / 2
    one_level = len(case.accounts.labels) == 1
    if unserved or (one_level and findings["starved_queue"].holds):
        own[STARVED] = own[STARVED] + own[DELAY]
        own[DELAY] = np.zeros_like(own[DELAY])
    queue, poll = own[DELAY] + own[STARVED] + waits[STARVED], own[POLL]
    late = queue >= constants.CLOSE * poll
    delayed = own[DELAY] >= own[STARVED] + waits[STARVED]
    own[DELAY] = own[DELAY] + np.where(late & delayed & (queue > 0), poll, 0)
    waits[STARVED] = waits[STARVED] + np.where(late & ~delayed & (queue > 0), poll, 0)
    own[POLL] = np.where(late & (queue > 0), 0, poll)


def _deadlocks(findings: Findings) -> bool:
    """Deadlocks are a pattern; a rare one is an accident of whatever locks there are."""
    figures = findings["deadlock"].figures
    return findings["deadlock"].holds and bool(figures["deadlocks"] >= constants.DEADLOCK_RATE * figures["attempts"])


def _deadlocked(
    case: Measurements, findings: Findings, own: dict[Name, Floats], waits: dict[Name, Floats], divided: bool
) -> None:
    """A booking is left to the job when its allocation failed: what is paid after the answer began in the database."""
    dead: Name = ("database" if divided else "allocator", "deadlock")
    _rename(own, waits, LOCK, dead)
    left = int((case.accounts.measured["outcome"] != "confirmed_inline_api").sum())
    # Where the server does not tell its waits, those of its statements are in their time.
    told = bool((case.accounts.measured["tier"] <= SERVER_PROFILE).all())
    undivided = [("allocator", "sequential_work"), ("api", "sequential_work")]
    paid = undivided if not divided else [] if told else [("database", "round_trips"), PERMIT, WORKERS]
    if findings["deadlock"].figures["deadlocks"] >= left / 2:
        paid += [DELAY, STARVED, POLL]
        for name in (DELAY, STARVED, POLL):
            waits[dead] = waits[dead] + own[name]
            own[name] = np.zeros_like(own[name])
    for name in paid:
        waits[dead] = waits[dead] + waits[name]
        waits[name] = np.zeros_like(waits[name])


def _carve(own: dict[Name, Floats], waits: dict[Name, Floats], hop: str, mechanism: str, cost_ms: float) -> None:
    """Name a part of a hop's own time for what was found to take it."""
    largest = max((name for name in own if name[0] == hop), key=lambda name: float(own[name][0]))
    part = np.minimum(own[largest], cost_ms)
    own[largest] = own[largest] - part
    own[hop, mechanism] = part
    waits[hop, mechanism] = np.zeros_like(part)


def _choose(found: Leaves, fitted: Fit) -> _Choice:
    names = list(found.own)
    at = np.column_stack([found.at(name) for name in names])
    waits = np.column_stack([found.waits[name] for name in names])
    worth = _worth(names, at, waits, fitted)
    best = worth.argmax(axis=1)
    rows = np.arange(len(at))
    share = ratio(waits[rows, best], at[rows, best])
    return _Choice(names, best, share >= constants.SATURATED_SHARE, worth)


def _worth(names: list[Name], at: Floats, waits: Floats, fitted: Fit) -> Floats:
    """What an attempt would take less without each leaf: less than its time, where others would then queue longer.

    The leaf with the most waiting is the one queue (see ``prediction``). What is done while it is held makes the
    queue shorter as well, so it is worth its whole time.
    """
    rows, queueing = np.arange(len(at)), [name[1] in QUEUES for name in names]
    queue = np.where(queueing, waits, 0).argmax(axis=1)
    longest = np.where(queueing, waits, 0)[rows, queue]
    wait, n, total = (each[:, None] for each in (longest, fitted.others, fitted.total))
    shorter = loop_ms(np.maximum(total - wait - at, 0), service_ms(wait, n, total), n)
    worth = np.clip(total - shorter, 0, at)
    worth[rows, queue] = at[rows, queue]
    held = np.array([[hop in HELD_OVER.get(outer, ()) for hop, _ in names] for outer in names])
    return np.where((wait > 0) & ~held[queue], worth, at)


def _hogged(case: Measurements) -> tuple[str, ...]:
    """The levels at which processes of others took much of the machine."""
    cores = constants.HOG_SHARE * (case.cpus or 1)
    labels = case.accounts.labels
    return tuple(
        label for label in labels if label in case.utilisations and case.utilisations[label].others_cores >= cores
    )


def _alike(case: Measurements, hogged: tuple[str, ...]) -> tuple[Measurements, bool]:
    """The case with those levels only that others left alone alike, and whether they did not leave them alone.

    What grows between a level that others used and one that they did not may be theirs. A level too short to be
    sampled is taken to be as the others were.
    """
    accounts = case.accounts
    if not hogged or all(label in hogged for label in accounts.labels if label in case.utilisations):
        return case, bool(hogged)
    quiet = tuple(label for label in accounts.labels if label not in hogged)
    crowded = len(quiet) < 2 <= len(hogged)
    return replace(case, accounts=accounts.without(quiet if crowded else hogged)), crowded


def _starved(case: Measurements) -> bool:
    """The run's own computing, as slow as others leave it, is most of an attempt, at few workers and at many."""
    sampled = [label for label in case.accounts.labels if label in case.utilisations]
    return all(_computing_share(case, label) >= constants.STARVED for label in (sampled[0], sampled[-1]))


def _computing_share(case: Measurements, label: str) -> float:
    """Of an attempt: its computing beside others, and at more workers than cores its turns behind their computing."""
    used, cpus = case.utilisations[label], case.cpus or 1
    others = case.mean("others", label)
    at_once = max(cpus, 1 + (others or 0.0))
    cost = sum(used.cores.values()) * used.ms_per_core * at_once / used.capacity(cpus)
    return cost / case.accounts.total_ms(label)


def _doubts(
    case: Measurements,
    findings: Findings,
    choice: _Choice,
    steady: _Choice,
    found: Leaves,
    unnamed: bool,
    hogged: tuple[str, ...],
    mechanism: str,
) -> Iterator[Doubt]:
    """Each thing that would change the answer if it were otherwise."""
    rows, labels = case.accounts.measured, case.accounts.labels
    blind = tuple(sorted(set(rows.loc[rows["tier"] > SERVER_PROFILE, "label"])))
    if rows["database_ms"].isna().any():
        yield Doubt("undivided", "nothing tells how much of the API's and the allocator's time is the database's")
    elif blind:
        yield Doubt("no_profile", f"the server's profile of its own times is missing at {', '.join(blind)}", blind)
    elif not case.utilisations and choice.name not in (POOL, LOCK) and _samples_would_tell(choice):
        yield Doubt("not_sampled", "statements and processor time were sampled too rarely or not at all")
    sizes = rows.groupby("label")["cluster"].agg(["size", "nunique"])
    few = (sizes["nunique"] < constants.FEW_SLOTS) | (sizes["size"] < constants.FEW_ATTEMPTS)
    if few.any():
        thin = tuple(map(str, sizes.index[few]))
        yield Doubt("too_few", f"too few attempts or slots were measured at {', '.join(thin)}", thin)
    if len(labels) == 1:
        yield Doubt("one_level", "only one level was measured", labels)
    if choice.name != steady.name or (len(labels) > 1 and choice.saturates[0] != steady.saturates[0]):
        yield Doubt("few_attempts_decide", "without the slowest eighth of the attempts the answer is another one")
    if _close(choice):
        yield Doubt("close", "another cause comes close")
    if constants.QUEUED < found.transferred < 1 - constants.QUEUED or _inside_is_larger(choice, found):
        yield Doubt("inner_or_outer", "what limits may lie inside what attempts wait for")
    if choice.name[1] in ("cpu", *_ONE_AT_A_TIME) and choice.name[0] in _WEB and processors(case).one_core_perhaps:
        yield Doubt("one_core", "a web process that fills one core cannot be told from one that admits one at a time")
    if choice.saturates[0] and choice.name[1] not in QUEUES and len(labels) > 1:
        yield Doubt("grows_unexplained", "it grows with concurrency and nothing that was found explains it")
    if unnamed:
        hop = choice.name[0]
        text = f"the {hop} takes longer with concurrency, and a machine that is full explains that as well"
        yield Doubt("machine_grows", text)
    if hogged:
        yield Doubt("others_computed", f"processes of others used the machine at {', '.join(hogged)}", hogged)
    if mechanism in findings and not findings[mechanism].holds:
        yield Doubt("not_observed", "the mechanism was not seen at work")


def _grows_without_a_name(name: Name, found: Leaves, fitted: Fit) -> bool:
    """The kind hangs on growth of the hop that no leaf holds: what all parts of a full machine share alike."""
    hop = name[0]
    parts = sum(float(fitted.at[0, PARTS.index(part)]) for part in PARTS_OF[hop])
    unnamed = max(0.0, parts - sum(float(found.at(leaf)[0]) for leaf in found.own if leaf[0] == hop))
    owed = float(found.waits[name][0]) + unnamed
    return owed >= constants.SATURATED_SHARE * (float(found.at(name)[0]) + unnamed)


def _samples_would_tell(choice: _Choice) -> bool:
    """Whether a hop's own time is computing, which grows with concurrency; and which statements the database's is."""
    return choice.name[0] == "database" or (choice.name[0] in _WEB and bool(choice.saturates[0]))


def _close(choice: _Choice) -> bool:
    """Another leaf of the sample is nearly as large."""
    ordered = np.sort(choice.worth[0])
    return bool(len(ordered) > 1 and ordered[-2] >= constants.CLOSE * ordered[-1])


def _inside_is_larger(choice: _Choice, found: Leaves) -> bool:
    """What is done on a connection takes longer than waiting for one that the server has left."""
    if choice.name != LIMIT:
        return False
    return any(float(found.at(name)[0]) > float(found.at(LIMIT)[0]) for name in found.own if name[0] == LIMIT[0])


def _shown(found: Leaves, fitted: Fit) -> tuple[Leaf, ...]:
    """The leaves as figures, the largest first."""
    others, shown = float(fitted.others[0]), []
    for name in found.own:
        own, waits = float(found.own[name][0]), float(found.waits[name][0])
        if own + waits > 0:
            low, high = (float(each) for each in np.quantile(found.at(name), [0.025, 0.975]))
            shown.append(Leaf(*name, own, waits / others if others else 0.0, own + waits, waits, (low, high)))
    return tuple(sorted(shown, key=lambda leaf: -leaf.at_ms))
