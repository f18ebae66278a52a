"""The write-up: bottleneck.json and metrics.json in words (Markdown), each section one function.

``tell(metrics, bottleneck)`` is all of it in reading order: verdict, advice, prediction, proof, findings, seats,
limits, method. Nothing is computed here beyond what a sentence needs, and nothing is claimed that the two
documents do not hold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from slotfill.report import excerpts, findings, labels, seats
from slotfill.report.advice import advice, steps
from slotfill.report.sureness import seen, sureness

Metrics = Mapping[str, Any]
Bottleneck = Mapping[str, Any]

SATURATION = "saturation"
CONSTANT_COST = "constant_cost"

_UNCHANGED = 0.99
_MEASURE_FIRST = (
    "Measure first what *What these data cannot say* asks for: the mechanism is what is left over, not what was seen."
)
_CLOSED_LOOP = (
    "The load was a **closed loop**: a fixed number of workers, each sending its next booking only when the last one "
    "ended. The latencies are service times at that concurrency. They are not what guests feel when bookings "
    "arrive at their own pace, because a slow platform also slows this load down; read them "
    "together with the throughput."
)


def tell(metrics: Metrics, bottleneck: Bottleneck) -> str:
    """The whole write-up."""
    sections = [
        ("", headline(metrics, bottleneck)),
        ("What to do", recommendations(bottleneck)),
        ("What an improvement would buy", prediction(bottleneck)),
        ("What the throughput counts", seats.worker_time(metrics, bottleneck)),
        ("Proof", proof(bottleneck)),
        ("What was found", findings.held(bottleneck)),
        ("What it costs in seats", seats.seats(bottleneck)),
        ("What these data cannot say", findings.limits(bottleneck)),
        ("How it was measured", method(metrics)),
    ]
    return "\n\n".join(f"### {title}\n\n{text}" if title else text for title, text in sections if text)


def headline(metrics: Metrics, bottleneck: Bottleneck) -> str:
    """The verdict in a box: what to mind first, which hop, saturating or merely slow, by what mechanism, how sure."""
    parts = [f"**Mind:** {caveat}" for caveat in bottleneck.get("caveats", [])]
    parts += [f"**{_verdict(bottleneck)}**", _kind(metrics, bottleneck), _mechanism(bottleneck), sureness(bottleneck)]
    return "\n".join(f"> {part}\n>" for part in parts if part).removesuffix("\n>")


def timing(bottleneck: Bottleneck) -> str:
    """Where the time of a mean attempt goes, a sentence a level."""
    sentences = []
    for label in labels.level_order(list(bottleneck.get("shares", {}))):
        hops = _ranked(bottleneck["shares"][label])
        if not hops:
            continue
        total = sum(figures["mean_ms"] for _, figures in hops)
        parts = [
            f"{labels.hop(name)} {labels.duration(figures['mean_ms'])} ({labels.share(figures['share'])})"
            for name, figures in hops
            if figures["share"] >= 0.005
        ]
        sentences.append(f"- **{label}**: {labels.duration(total)} an attempt = {' + '.join(parts)}")
    return "\n".join(sentences)


def proof(bottleneck: Bottleneck) -> str:
    """The timing sums, the growth and the evidence."""
    parts = [timing(bottleneck), _growth(bottleneck), excerpts.evidence(bottleneck)]
    return "\n\n".join(part for part in parts if part)


def recommendations(bottleneck: Bottleneck) -> str:
    """What to do, tied to the mechanism that was found."""
    found = advice(bottleneck.get("mechanism"))
    if found is None:
        return (
            "No single mechanism was found, so no single remedy follows. Measure again with what "
            "*What these data cannot say* asks for."
        )
    tied = steps(bottleneck)
    tied = tied if seen(bottleneck) else (_MEASURE_FIRST, *tied)
    return "\n".join(f"{place}. {step}" for place, step in enumerate(tied, start=1))


def prediction(bottleneck: Bottleneck) -> str:
    """What halving the slowest hop would do to time and throughput."""
    predicted = bottleneck.get("prediction", {})
    if not predicted:
        return ""
    full = any(found["name"] == "host_cpu" and found["verdict"] == "true" for found in bottleneck.get("findings", []))
    lines = [f"- **{label}**: {_predicted(predicted[label], full)}" for label in labels.level_order(list(predicted))]
    hop = labels.hop(bottleneck.get("verdict"))
    title = f"If the {hop} took half the time (times: means of confirmed bookings; throughput: of all attempts):"
    return "\n".join([title, "", *lines])


def _predicted(then: Mapping[str, Any], full: bool) -> str:
    """One level's prediction; ``full`` says that the machine has no processor time left."""
    now = labels.duration(then["now_total_ms"])
    if then["total_ms"] > _UNCHANGED * then["now_total_ms"]:
        why = ", for the machine that load, platform and database share has no processor time left" if full else ""
        return f"an attempt would take as long as now ({now}){why}"
    return (
        f"an attempt would take {labels.duration(then['total_ms'])}{_within(labels.interval(then['total_ci95']))} "
        f"instead of {now}; throughput would be {labels.number(then['throughput_per_min'])}"
        f"{_within(_plain_interval(then['throughput_ci95']))} instead of "
        f"{labels.number(then['now_throughput_per_min'])} confirmed bookings a minute"
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
    parts.append("Means are over confirmed bookings; intervals are 95 % bootstrap intervals that resample whole slots.")
    if few:
        parts.append(f"Percentiles the sample is too small for are left open (p99 at {labels.listing(few)}).")
    return " ".join(parts)


def _verdict(bottleneck: Bottleneck) -> str:
    verdict = bottleneck.get("verdict")
    if verdict in (None, "unknown"):
        return "No hop can be named the slowest: the data do not split the time."
    if verdict == "none":
        return f"Nothing was confirmed: {bottleneck.get('mechanism')}. There is no slowest hop to name."
    if verdict == "tie":
        return f"Two hops are as slow as each other: {bottleneck.get('mechanism')}."
    if verdict == "venue":
        return "No part of the platform is the bottleneck: the venue runs out of tables."
    slowest = _slowest_level(bottleneck, str(verdict))
    if slowest is None:
        return f"The slowest hop is the {labels.hop(verdict)}."
    label, figures = slowest
    return (
        f"The slowest hop is the {labels.hop(verdict)}: {labels.duration(figures['mean_ms'])} of an attempt "
        f"({labels.share(figures['share'])}) at {label}."
    )


def _kind(metrics: Metrics, bottleneck: Bottleneck) -> str:
    if bottleneck.get("verdict") == "none":
        return ""
    kind = bottleneck.get("kind")
    levels = [level["label"] for level in metrics["levels"] if level.get("concurrency") is not None]
    if kind == SATURATION:
        return f"It **saturates**: its time grows with concurrency. {_growth(bottleneck)}"
    if kind != CONSTANT_COST:
        return "Whether it grows with concurrency is not known from these data."
    if len(levels) < 2:
        return (
            "It is a **constant cost** as far as can be seen: one level alone shows no growth, and here nothing points "
            "at contention. Concurrency is not the cause of the time measured."
        )
    if _grows(bottleneck):
        return (
            "It is a **constant cost** of the platform, not saturation: nothing that the platform shares out was seen "
            f"to be contended for. {_growth(bottleneck)} {_why_it_grows(bottleneck)}"
        )
    return (
        f"It is a **constant cost**, not saturation: as far as these data carry, concurrency is not the cause. From "
        f"{levels[0]} to {levels[-1]} no growth stands out, so fewer simultaneous bookings would not make one faster. "
        f"{_growth(bottleneck)}"
    )


def _grows(bottleneck: Bottleneck) -> bool:
    """The growth of the hop, or of the total where no hop is named, lies above zero with all its interval."""
    growth = bottleneck.get("growth", {})
    slope = growth.get(bottleneck.get("verdict")) or growth.get("total") or {}
    bounds = slope.get("ci95")
    return bounds is not None and bounds[0] > 0


def _why_it_grows(bottleneck: Bottleneck) -> str:
    claims = {found["name"]: found["claim"] for found in bottleneck.get("findings", []) if found["verdict"] == "true"}
    if "host_cpu" in claims:
        return f"That growth is the machine's, which load, platform and database share: {claims['host_cpu']}."
    return "What makes it grow is not settled by these data."


def _mechanism(bottleneck: Bottleneck) -> str:
    if bottleneck.get("verdict") in (None, "unknown", "none", "tie"):
        return ""
    found = advice(bottleneck.get("mechanism"))
    if found is None:
        return "Mechanism: **unknown** – nothing that was looked for explains the time."
    doubt = "" if seen(bottleneck) else " This is a supposition: these data do not show it at work."
    return f"Mechanism: **{_spaced(bottleneck['mechanism'])}** – {found.meaning}.{doubt}"


def _spaced(name: Any) -> str:
    return str(name).replace("_", " ")


def _growth(bottleneck: Bottleneck) -> str:
    growth = bottleneck.get("growth", {}).get(bottleneck.get("verdict"))
    if not growth or labels.is_missing(growth.get("per_doubling_ms")):
        return ""
    bounds = growth.get("ci95")
    none = ", which includes no change" if bounds and bounds[0] <= 0 <= bounds[1] else ""
    return (
        f"Each doubling of concurrency changes the {labels.hop(bottleneck['verdict'])}'s mean by "
        f"{labels.duration(growth['per_doubling_ms'])} (95 % interval {labels.interval(growth.get('ci95'))}{none})."
    )


def _within(bounds: str) -> str:
    return "" if bounds == labels.UNKNOWN else f" ({bounds})"


def _plain_interval(bounds: Sequence[float] | None) -> str:
    return f"{labels.number(bounds[0])} to {labels.number(bounds[1])}" if bounds else labels.UNKNOWN


def _ranked(hops: Mapping[str, Mapping[str, Any]]) -> Sequence[tuple[str, Mapping[str, Any]]]:
    known = [(name, figures) for name, figures in hops.items() if not labels.is_missing(figures.get("mean_ms"))]
    return sorted(known, key=lambda pair: -pair[1]["mean_ms"])


def _slowest_level(bottleneck: Bottleneck, hop: str) -> tuple[str, Mapping[str, Any]] | None:
    """The level at which the hop takes longest."""
    rows = [(label, hops[hop]) for label, hops in bottleneck.get("shares", {}).items() if hop in hops]
    rows = [(label, figures) for label, figures in rows if not labels.is_missing(figures.get("mean_ms"))]
    return max(rows, key=lambda row: row[1]["mean_ms"]) if rows else None
