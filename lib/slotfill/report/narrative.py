"""The write-up in words (Markdown), each section one function: nothing is claimed that the documents do not hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from slotfill.analyse.document import CONSTANT_COST, NONE, SATURATION, Bottleneck, Cost, Prediction
from slotfill.analyse.level_order import level_order
from slotfill.analyse.study import Study
from slotfill.report import card, excerpts, findings, labels, seats, tables

Metrics = Mapping[str, Any]

_CLOSED_LOOP = (
    "The load was a **closed loop**: a fixed number of workers, each sending its next booking only when the last one "
    "ended. The latencies are service times at that concurrency. They are not what guests feel when bookings "
    "arrive at their own pace, because a slow platform also slows this load down; read them "
    "together with the throughput."
)


def write_up(study: Study) -> str:
    """The whole write-up in reading order, with headings of the third level."""
    document, metrics = study.document, study.metrics
    sections = [
        ("", verdict(study)),
        ("What to do", recommendations(document)),
        ("What an improvement would buy", prediction(document)),
        ("What the throughput counts", seats.worker_time(metrics, document)),
        ("Proof", _joined(timing(document), growth(document), excerpts.evidence(document))),
        ("What was found", findings.held(document)),
        ("What it costs in seats", _joined(tables.markdown(seats.table(document)), seats.seats(document))),
        ("What these data cannot say", findings.limits(document)),
        ("How it was measured", method(metrics)),
    ]
    return "\n\n".join(f"### {title}\n\n{text}" if title else text for title, text in sections if text)


def verdict(study: Study) -> str:
    """The verdict card as a quotation."""
    told = card.card(study)
    parts = [f"**Note:** {caveat}" for caveat in told.caveats]
    parts += [f"**{told.headline}**", *(f"{name}: {text}" for name, text in told.facts)]
    return "\n".join(f"> {part}\n>" for part in parts).removesuffix("\n>")


def timing(document: Bottleneck) -> str:
    """Where the time of a mean attempt goes, a sentence a level."""
    sentences = []
    for label in level_order(list(document.shares)):
        ranked = _ranked(document.shares[label])
        parts = [
            f"{labels.hop(name)} {labels.duration(cost.mean_ms)} ({labels.share(cost.share)})"
            for name, cost in ranked
            if (cost.share or 0) >= 0.005
        ]
        if parts:
            total_ms = sum(cost.mean_ms or 0 for _, cost in ranked)
            sentences.append(f"- **{label}**: {labels.duration(total_ms)} an attempt = {' + '.join(parts)}")
    return "\n".join(sentences)


def recommendations(document: Bottleneck) -> str:
    """What to do, tied to the mechanism that was found."""
    steps = card.steps(document)
    if not steps:
        return (
            "No single mechanism was found, so no single remedy follows. Measure again with what "
            "*What these data cannot say* asks for."
        )
    return "\n".join(f"{place}. {step}" for place, step in enumerate(steps, start=1))


def prediction(document: Bottleneck) -> str:
    """What halving the slowest hop would do to time and throughput."""
    if not document.prediction:
        return ""
    host = document.finding("host_cpu")
    full = host is not None and host.holds
    levels = level_order(list(document.prediction))
    lines = [f"- **{label}**: {_predicted(document.prediction[label], full)}" for label in levels]
    hop = labels.hop(document.verdict)
    title = f"If the {hop} took half the time (times: means of confirmed bookings; throughput: of all attempts):"
    return "\n".join([title, "", *lines])


def growth(document: Bottleneck) -> str:
    """Whether the slowest hop grows with the load, and by how much."""
    if document.verdict == NONE:
        return ""
    if document.kind == SATURATION:
        return f"It **saturates**: its time grows with concurrency. {_per_doubling(document)}"
    if document.kind != CONSTANT_COST:
        if len(document.shares) < 2:
            return "One level alone shows no growth: whether it grows with concurrency is not known."
        return (
            "It **grows with concurrency**; whether the platform saturates, or a machine that client, platform and "
            f"database may share is full, is not known from these data. {_per_doubling(document)}"
        )
    if len(document.shares) < 2:
        return (
            "It is a **constant cost** as far as can be seen: one level alone shows no growth, and here nothing points "
            "at contention. Concurrency is not the cause of the time measured."
        )
    if _grows(document):
        return (
            "It is a **constant cost** of the platform, not saturation: nothing that the platform shares out was seen "
            f"to be contended for. {_per_doubling(document)} {_why_it_grows(document)}"
        )
    levels = level_order(list(document.shares))
    return (
        f"It is a **constant cost**, not saturation: as far as these data carry, concurrency is not the cause. From "
        f"{levels[0]} to {levels[-1]} no growth stands out, so fewer simultaneous bookings would not make one faster. "
        f"{_per_doubling(document)}"
    )


def method(metrics: Metrics) -> str:
    """Closed loop, sample sizes, effective concurrency: how to read the figures."""
    narrowed = [
        f"{level['label']} had only {labels.count(level['effective_concurrency'], 'busy worker')}"
        for level in metrics["levels"]
        if level.get("concurrency") is not None
        and level.get("effective_concurrency") not in (None, level["concurrency"])
    ]
    few = [level["label"] for level in metrics["levels"] if labels.is_missing(level["submit_ms"]["p99"])]
    parts = [_CLOSED_LOOP]
    if narrowed:
        parts.append(f"Workers beyond the number of slots have nothing to do: {labels.listing(narrowed)}.")
    parts.append(
        "Means are over confirmed bookings; intervals are 95 % intervals over whole slots, each round for itself; "
        "below 5 of them, or 120 bookings, a mean has none."
    )
    if few:
        parts.append(f"Percentiles the sample is too small for are left open (p99 at {labels.listing(few)}).")
    return " ".join(parts)


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)


def _predicted(then: Prediction, full: bool) -> str:
    """One level's prediction; ``full`` says that the machine has no processor time left."""
    now = labels.duration(then.now_total_ms)
    if then.is_as_now:
        why = ", for the machine that load, platform and database share has no processor time left" if full else ""
        return f"an attempt would take as long as now ({now}){why}"
    return (
        f"an attempt would take {labels.duration(then.total_ms)}{_within(labels.interval(then.total_ci95))} "
        f"instead of {now}; throughput would be {labels.number(then.throughput_per_min)}"
        f"{_within(_plain_interval(then.throughput_ci95))} instead of "
        f"{labels.number(then.now_throughput_per_min)} confirmed bookings a minute"
    )


def _grows(document: Bottleneck) -> bool:
    """The growth of the hop, or of the total where no hop is named, lies above zero with all its interval."""
    slope = document.growth.get(document.verdict) or document.growth.get("total")
    return slope is not None and slope.ci95[0] > 0


def _why_it_grows(document: Bottleneck) -> str:
    host = document.finding("host_cpu")
    if host is not None and host.holds:
        return f"That growth is the machine's, which load, platform and database share: {host.claim}."
    return "What makes it grow is not settled by these data."


def _per_doubling(document: Bottleneck) -> str:
    slope = document.growth.get(document.verdict)
    if slope is None:
        return ""
    none = ", which includes no change" if slope.ci95[0] <= 0 <= slope.ci95[1] else ""
    return (
        f"Each doubling of concurrency changes the {labels.hop(document.verdict)}'s mean by "
        f"{labels.duration(slope.per_doubling_ms)} (95 % interval {labels.interval(slope.ci95)}{none})."
    )


def _within(bounds: str) -> str:
    return "" if bounds == labels.UNKNOWN else f" ({bounds})"


def _plain_interval(bounds: Sequence[float] | None) -> str:
    return f"{labels.number(bounds[0])} to {labels.number(bounds[1])}" if bounds else labels.UNKNOWN


def _ranked(costs: Mapping[str, Cost]) -> Sequence[tuple[str, Cost]]:
    known = [(name, cost) for name, cost in costs.items() if cost.mean_ms is not None]
    return sorted(known, key=lambda pair: -(pair[1].mean_ms or 0))
