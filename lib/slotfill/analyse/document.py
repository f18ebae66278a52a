"""The typed document that analysis ends in; ``Bottleneck.as_json()`` is bottleneck.json.

Everything a report says of the verdict stands here, as figures with units and as names; texts
(``claim``, ``text``) are for reading only, and nothing may be concluded from their words.
Times are ms per attempt, intervals are 95 %, shares and probabilities go from 0 to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, NamedTuple

from slotfill.analyse.call_view import CallView
from slotfill.analyse.coverage import Coverage, Integrity

Interval = tuple[float, float]
Status = Literal["asserted", "confirmed", "refuted"]
Answer = Literal["true", "false", "unknown"]

SATURATION, CONSTANT_COST, UNKNOWN = "saturation", "constant_cost", "unknown"
NONE, VENUE, TIE = "none", "venue", "tie"
"""Verdicts that are no hop: nothing was confirmed, the tables ran out, two hops cannot be told apart."""

GRADES = ((0.9, "high"), (0.7, "medium"))


def grade(probability: float | None) -> str:
    """The word for a probability: ``high`` from 0.9, ``medium`` from 0.7, else ``low``."""
    return next((word for least, word in GRADES if probability is not None and probability >= least), "low")


class Source(NamedTuple):
    """A file and a line of it, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Evidence:
    """A claim with its figure (a number in ``unit``, or a finding's figures by name) and one place that shows it.

    ``decisive`` are the parts of the excerpt that hold the figure.
    """

    claim: str
    value: Any
    unit: str | None = None
    source: Source | None = None
    excerpt: str | None = None
    decisive: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Its form in bottleneck.json: a number with its unit is one text."""
        value = plain(self.value)
        shown = f"{value:.1f} {self.unit}" if self.unit and isinstance(value, float) else value
        place = {"source": plain(self.source), "excerpt": self.excerpt, "decisive": list(self.decisive)}
        return {"claim": self.claim, "value": shown, **place}


@dataclass(frozen=True)
class Finding:
    """One question answered from the data.

    ``claim`` is the answer as a sentence; ``figures`` its numbers; ``sources`` the places that show it;
    ``needs`` says, where the verdict is unknown, which data would tell. A finding that names a mechanism
    has the ``hop`` it costs time in, and ``cost_ms``: how much of a mean attempt it explains at the
    highest level.
    """

    name: str
    verdict: Answer
    claim: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()
    needs: str = ""
    hop: str | None = None
    cost_ms: float = 0.0

    @property
    def holds(self) -> bool:
        return self.verdict == "true"


@dataclass(frozen=True)
class Cost:
    """A hop at one level: mean time per attempt, its share of the total, its interval; ``None`` where not known."""

    mean_ms: float | None
    share: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class Growth:
    """By how much a mean changes with each doubling of the workers."""

    per_doubling_ms: float
    ci95: Interval


@dataclass(frozen=True)
class Tier:
    """What the time accounting of ``n`` attempts of a level rests on; ``estimated``: the database's part by samples."""

    label: str
    tier: str
    n: int
    estimated: bool = False

    def __str__(self) -> str:
        basis = "calls shared out or of few" if self.tier == "traces" else "database estimated from samples"
        estimate = f", {basis}" if self.estimated else ""
        return f"{self.label}: {self.tier}{estimate} ({self.n} attempts)"


@dataclass(frozen=True)
class Doubt:
    """What keeps the verdict from being surer; ``text`` is a clause, ``labels`` the levels it speaks of.

    ``share`` is the share of the resamples that it names.
    """

    name: str
    text: str
    labels: tuple[str, ...] = ()
    share: float | None = None


@dataclass(frozen=True)
class Limit:
    """What these data cannot say, and what would (``needs``); ``finding`` names the open question it belongs to."""

    text: str
    finding: str | None = None
    needs: str = ""


@dataclass(frozen=True)
class Caveat:
    """What a reader has to know before any figure."""

    name: str
    text: str


@dataclass(frozen=True)
class Failure:
    """Why bookings failed, in the words of who knew: ``told_by`` the server's log or its answer to the client.

    ``attempts`` counts bookings, not log lines; an error printed twice is one.
    """

    reason: str
    attempts: int
    told_by: Literal["server log", "answer"]
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Prediction:
    """One level as measured, and as it would be; ``*_ci95`` are ``None`` where no interval can be given.

    ``total_ms`` is of a confirmed attempt (of any, where hardly one was confirmed).
    """

    now_total_ms: float
    total_ms: float
    total_ci95: Interval | None
    now_throughput_per_min: float
    throughput_per_min: float
    throughput_ci95: Interval | None

    @property
    def is_as_now(self) -> bool:
        """Less than a hundredth would be saved: nothing worth telling."""
        return self.total_ms > 0.99 * self.now_total_ms


@dataclass(frozen=True)
class Load:
    """What a level put on the platform: workers asked for and busy, requests of others in flight beside an attempt."""

    workers: int
    effective_workers: int
    others_in_flight: float | None
    rounds: int = 1


@dataclass(frozen=True)
class Leaf:
    """A cause as the model has it, ms of a mean attempt at the highest load: its own cost, and waiting owed to others.

    ``name`` is the mechanism, ``at_ms`` with its interval the sum, ``slope_ms`` what one other request in flight adds.
    """

    hop: str
    name: str
    own_ms: float
    slope_ms: float
    at_ms: float
    of_others_ms: float
    at_ci95: Interval | None = None


@dataclass(frozen=True)
class Sessions:
    """The most sessions of the database at once in each state, over the ``samples`` of a level."""

    label: str
    samples: int
    most: Mapping[str, float]


@dataclass(frozen=True)
class Bottleneck:
    """The verdict on a run with its proof; see design.md, "bottleneck.json".

    ``verdict`` is a hop, ``venue``, ``tie`` (``tied`` names both hops), ``none`` (nothing was confirmed;
    ``mechanism`` names the failure) or ``unknown``. ``probability`` is ``None`` where nothing was weighed.
    ``throughput_limit_per_min`` is what a saturated hop lets through however many ask.
    """

    verdict: str
    mechanism: str
    kind: str
    probability: float | None = None
    status: Status = "asserted"
    experiment: str = ""
    """What made the status what it is, where an experiment tested this verdict: a clause; empty where none did."""
    tied: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    shares: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    growth: Mapping[str, Growth] = field(default_factory=dict)
    loads: Mapping[str, Load] = field(default_factory=dict)
    leaves: tuple[Leaf, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    tiers: tuple[Tier, ...] = ()
    prediction: Mapping[str, Prediction] = field(default_factory=dict)
    throughput_limit_per_min: float | None = None
    findings: tuple[Finding, ...] = ()
    failures: tuple[Failure, ...] = ()
    limits: tuple[Limit, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    seats: tuple[Mapping[str, Any], ...] = ()
    coverage: tuple[Coverage, ...] = ()
    integrity: Integrity | None = None
    sessions: tuple[Sessions, ...] = ()
    calls: CallView | None = None
    """What spans or taps saw of the platform's calls."""

    @property
    def confidence(self) -> str:
        return grade(self.probability)

    @property
    def labels(self) -> tuple[str, ...]:
        """The measured levels, from the lowest concurrency to the highest."""
        return tuple(self.shares)

    @property
    def mechanism_observed(self) -> bool:
        """The mechanism is a finding that holds, not only what is left over."""
        return any(found.name == self.mechanism and found.holds for found in self.findings)

    def doubted(self, name: str) -> bool:
        """One of the doubts has this name."""
        return any(doubt.name == name for doubt in self.doubts)

    def finding(self, name: str) -> Finding | None:
        """A finding by its name."""
        return next((found for found in self.findings if found.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """The content of bottleneck.json: plain values, sources as ``file:line``."""
        content: dict[str, Any] = plain(self)
        tiers = {"evidence_tiers": [str(tier) for tier in self.tiers]}
        evidence = {"evidence": [item.as_json() for item in self.evidence]}
        return {**content, "confidence": self.confidence, **tiers, **evidence}


def plain(value: Any) -> Any:
    """Plain values that JSON has: no tuples, no numpy scalars, no NaN."""
    if isinstance(value, Source):
        return str(value)
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    number = float(value)
    return number if number == number else None
