"""The verdict: which hop, by what mechanism, saturation or constant cost, and how sure.

The rule, in order:

1. Bookings that the platform turned away decide before time does: no tables left (venue), a rate
   limit (api), no database connection left (database).
2. A hop *saturates* when its time grows with concurrency, beyond its interval and by a material part
   of the total, and something is contended for. On a machine that carries load generator, platform
   and database alike, every hop grows a little once its cores are busy; that is the machine's limit and
   not the platform's. So where the server's profile would show what is waited for, or the machine is
   full, growth counts only with such a resource named; elsewhere growth alone has to do, and must
   double the time. A busy process is named only where its hop takes a material part of the time.
3. Otherwise the cost is constant, and the verdict is the hop that costs an attempt most; two hops
   whose difference has an interval that includes 0 are a tie. Where the client's polling costs about
   as much as a hop it is that hop: the client polls because the other is late.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from slotfill.analyse import stats
from slotfill.analyse.document import CONSTANT_COST, SATURATION, Finding
from slotfill.analyse.findings.evidence import FEW_SLOTS
from slotfill.analyse.findings.measurements import Measurements
from slotfill.analyse.growth import MATERIAL_SHARE, growing_hop
from slotfill.analyse.hops import HOPS, SERVER_PROFILE

TURNED_AWAY = 0.1
"""Share of attempts turned away from which on that is the bottleneck, whatever the confirmed ones took."""
SLOWED = 2.0
"""How many times an attempt's time must grow before growth alone, with no wait to name, is taken for saturation."""
PATTERN = 0.05
"""Database errors per attempt from which on they are what happens and not an accident."""
STARVED = 0.6
"""Share of an attempt that must be computing, as slow as others leave it, to be put down to them."""

_CONTENTION = (
    *("connection_limit", "deadlock", "pool_wait", "lock_wait", "cpu"),
    *("api_workers", "serialised_allocator", "starved_queue"),
)
_FALLBACK = {"network": "network", "client": "client"}
# The first is the cause of what the second sees.
_CAUSES = (
    ("connection_limit", "pool_wait"),
    ("deadlock", "lock_wait"),
    ("cpu", "api_workers"),
    ("cpu", "serialised_allocator"),
    ("inline_timeout", "poll_interval"),
)

Findings = Mapping[str, Finding]


@dataclass(frozen=True)
class Verdict:
    """``hop`` is one of the hops, ``venue`` or ``tie``; ``mechanism`` names a finding (of a tie, both hops).

    ``doubts`` are clauses that say what keeps the verdict from being surer.
    """

    hop: str
    mechanism: str
    kind: str
    doubts: tuple[str, ...] = ()

    @property
    def confidence(self) -> str:
        """High with the server's own times, a mechanism that was seen, and several levels large enough; else less."""
        tied = self.hop == "tie"
        return "low" if tied else ("high", "medium", "low")[min(len(self.doubts), 2)]


def decide(case: Measurements, findings: Findings) -> Verdict:
    """The verdict on a run, see the rule above."""
    turned_away = _turned_away(case, findings)
    if turned_away is not None:
        return turned_away
    hop = _saturated_hop(case, findings)
    if hop is not None:
        mechanism = _mechanism(hop, findings, contended=True)
        return Verdict(hop, mechanism, SATURATION, tuple(_doubts(case, findings, mechanism)))
    first, second = slowest_hops(case)
    polled = _caused_polling(case, tied=second is not None)
    if second is not None and polled is None:
        return Verdict("tie", f"{first} and {second}", CONSTANT_COST, ("the two hops cannot be told apart",))
    first = polled or first
    hog = findings["cpu_hog"]
    starved = hog.holds and hog.cost_ms >= STARVED * case.accounts.total_ms(case.accounts.labels[0])
    mechanism = "cpu" if starved else _mechanism(first, findings, contended=False)
    doubts = [*_doubts(case, findings, mechanism)]
    if polled is not None:
        doubts.append("the client's polling costs as much")
    if _grows(case) and not findings["host_cpu"].holds:
        doubts.append("the time grows with concurrency and nothing that was found explains it")
    return Verdict(first, mechanism, CONSTANT_COST, tuple(doubts))


def slowest_hops(case: Measurements) -> tuple[str, str | None]:
    """The hop that costs an attempt most, over all levels, and the one it cannot be told from."""
    rows = case.accounts.measured
    first, second = _ranked(case)
    if rows["cluster"].nunique() < 2:
        return first, None
    apart = (rows[f"{first}_ms"] - rows[f"{second}_ms"]).to_numpy(dtype=float)
    return first, second if stats.t_interval(apart, rows["cluster"])[0] <= 0 else None


def _ranked(case: Measurements) -> tuple[str, str]:
    """The two hops that cost most."""
    rows = case.accounts.measured
    means = {hop: rows[f"{hop}_ms"].mean() for hop in HOPS if hop != "unexplained" and rows[f"{hop}_ms"].notna().all()}
    first, second = sorted(means, key=lambda hop: -means[hop])[:2]
    return first, second


def _caused_polling(case: Measurements, tied: bool) -> str | None:
    """Where the client's poll lag costs as much as another hop, that hop: what is late there is why it polls at all."""
    rows, (first, second) = case.accounts.measured, _ranked(case)
    if "client" not in (first, second) or rows["poll_lag_ms"].sum() < rows["client_ms"].sum() / 2:
        return None
    close = rows[f"{second}_ms"].mean() >= (1 - MATERIAL_SHARE) * rows[f"{first}_ms"].mean()
    if tied or (first == "client" and close):
        return second if first == "client" else first
    return None


def _turned_away(case: Measurements, findings: Findings) -> Verdict | None:
    attempts = max(len(case.attempts), 1)
    exhausted = findings["exhaustion"].figures
    if findings["exhaustion"].holds and exhausted["exhausted"] > exhausted["confirmed"]:
        return Verdict("venue", "exhaustion", CONSTANT_COST)
    limited = findings["rate_limit"]
    if limited.holds and max(limited.figures["share"], limited.figures["paced_share"]) >= TURNED_AWAY:
        return Verdict("api", "rate_limit", SATURATION)
    if findings["connection_limit"].figures.get("refusals", 0) >= PATTERN * attempts:
        return Verdict("database", "connection_limit", SATURATION)
    return None


def _saturated_hop(case: Measurements, findings: Findings) -> str | None:
    """The hop that saturates, if the data show one that does."""
    hop = growing_hop(case.accounts)
    if hop is None:
        hop = slowest_hops(case)[0] if _grows_undivided(case) else None
    if hop is None:
        return None
    cpu = findings["cpu"]
    if cpu.holds and cpu.hop is not None and cpu.figures["saturated"] and _is_large(cpu.hop, case):
        # Whoever waits for the processor waits because of the hop that computes.
        return cpu.hop
    if not _contended(hop, case, findings):
        slowed = case.total_ms / case.accounts.total_ms(case.accounts.labels[0])
        if _would_show(case) or findings["host_cpu"].holds or slowed < SLOWED:
            return None
    return _upstream(hop, case, findings)


def _is_large(hop: str, case: Measurements) -> bool:
    """A hop that takes a small part of the time is not what an attempt waits for, however busy its process."""
    return case.hop_ms(hop) >= MATERIAL_SHARE * case.total_ms


def _upstream(hop: str, case: Measurements, findings: Findings) -> str:
    """Where what is paid after the answer began: a booking is only left to the job when its allocation failed."""
    if hop not in ("queue", "client") or not _deadlocks(findings):
        return hop
    left = (case.accounts.measured["outcome"] != "confirmed_inline_api").sum()
    if findings["deadlock"].figures["deadlocks"] < left / 2:
        return hop
    divided = case.accounts.measured["tier"].max() == SERVER_PROFILE
    return "database" if divided else "allocator"


def _grows_undivided(case: Measurements) -> bool:
    """The total grows where the evidence of the levels differs, so that its hops cannot be compared."""
    return case.accounts.growth.get("api") is None and _grows(case)


def _would_show(case: Measurements) -> bool:
    """The server told its own times, waiting for pool and locks among them: a wait that matters has a name there."""
    return bool(case.accounts.measured["tier"].max() == SERVER_PROFILE)


def _contended(hop: str, case: Measurements, findings: Findings) -> bool:
    """Something is waited for: in the hop that grows, for half of what it grew, or by a pattern of errors anywhere."""
    if _deadlocks(findings) or findings["connection_limit"].holds:
        return True
    waits = [findings[name] for name in _CONTENTION if name != "cpu"]
    return any(wait.holds and wait.hop == hop and wait.cost_ms >= case.accounts.grown_ms(hop) / 2 for wait in waits)


def _mechanism(hop: str, findings: Findings, contended: bool) -> str:
    """The finding that explains most of the hop's time."""
    held = {name: finding for name, finding in findings.items() if finding.holds and finding.hop == hop}
    if not _deadlocks(findings):
        held.pop("deadlock", None)
    if contended:
        # A log that does not divide the request has the deadlock's time in the hop it happened in.
        inside = {"deadlock": findings["deadlock"]} if _deadlocks(findings) and hop in ("api", "allocator") else {}
        held = {name: found for name, found in held.items() if name in _CONTENTION and _queues(found)} | inside
    if not held:
        undivided = hop == "api" and findings["sequential_work"].holds and not contended
        return "sequential_work" if undivided else _FALLBACK.get(hop, "unknown")
    best = max(held, key=lambda name: held[name].cost_ms)
    return next((cause for cause, symptom in _CAUSES if best == symptom and cause in held), best)


def _deadlocks(findings: Findings) -> bool:
    """Deadlocks are a pattern; a rare one is an accident of whatever locks there are."""
    figures = findings["deadlock"].figures
    return findings["deadlock"].holds and bool(figures["deadlocks"] >= PATTERN * figures["attempts"])


def _queues(finding: Finding) -> bool:
    """Computing is contended for only where there is too little of it."""
    return finding.name != "cpu" or bool(finding.figures["saturated"])


def _doubts(case: Measurements, findings: Findings, mechanism: str) -> Iterator[str]:
    """Each thing that is missing for a sure verdict, or that stands against it."""
    rows = case.accounts.measured
    blind = sorted(set(rows.loc[rows["tier"] != SERVER_PROFILE, "label"]))
    if blind:
        yield f"the server's profile of its own times is missing at {', '.join(blind)}"
    if mechanism not in findings or not findings[mechanism].holds:
        yield "the mechanism was not seen at work"
    sizes = rows.groupby("label")["cluster"].agg(["size", "nunique"])
    thin = sizes.index[(sizes["nunique"] < FEW_SLOTS) | (sizes["size"] < stats.sample_floor(95))]
    if len(case.accounts.labels) < 2:
        yield "only one level was measured"
    elif len(thin):
        yield f"too few attempts or slots were measured at {', '.join(thin)}"
    if findings["cpu_hog"].holds:
        yield "processes of others used the machine"


def _grows(case: Measurements) -> bool:
    """The total grows, beyond its interval and by a material part."""
    slope = case.accounts.growth["total"]
    grown = case.total_ms - case.accounts.total_ms(case.accounts.labels[0])
    return slope is not None and slope.positive and bool(grown >= MATERIAL_SHARE * case.total_ms)
