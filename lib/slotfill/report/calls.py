"""What spans or taps saw of the platform's calls, for people: sentences, the table by target, and the waterfalls."""

from functools import partial

import pandas as pd

from slotfill.analyse.call_view import CallView, TargetCalls, Waterfall
from slotfill.analyse.calls import READS
from slotfill.analyse.level_order import level_order
from slotfill.report import labels, markup
from slotfill.report.chart import Chart
from slotfill.report.figures import calls as figures

_SOURCES = {"spans": "OpenTelemetry spans", "taps": "taps"}
_TIMED = {
    "spans": "A call's time is as the platform's own client library measured it",
    "taps": "A call's time is its way and its answer's; what the platform's client library does around it is not in it",
}
_JOINED = {
    "trace": "joined by their trace",
    "time": "joined by time, as the only ones in flight",
    "estimate": "shared out among the attempts in flight, an estimate",
    "incomplete": "incomplete (their server spans are missing, and perhaps calls with them) and left out of all times",
    "unseen": "of which no span came",
}
_ATTEMPT = "attempt"
WORTH_SAYING_MS = 1.0
OFTEN = 3
"""Times in an attempt from which asking one table one after another is worth a sentence."""


def summary(view: CallView) -> str:
    """Where the figures come from, and which levels' are an estimate."""
    told = [
        f"{label}: {labels.listing([f'{labels.count(many, _ATTEMPT)} {_JOINED[how]}' for how, many in hows.items()])}"
        for label, hows in view.attempts.items()
    ]
    seen = f"Seen by {_SOURCES[view.source]}. {'; '.join(told)}. {_TIMED[view.source]}{_tap(view)}."
    return " ".join(filter(None, [seen, _lost(view), _clocks(view), _most_in_a_row(view), _together(view)]))


def step(view: CallView | None) -> str:
    """What to do about calls that are made again and again, naming them; empty where none are."""
    worst = [each for each in _lowest_level(view) if (each.in_a_row or 0) >= OFTEN]
    worst = sorted(worst, key=lambda each: -(each.in_a_row or 0))[:3]
    if not worst:
        return ""
    about = _about(view)
    named = [f"{_asked(each)} {about}{_times(each.in_a_row)} one after another" for each in worst]
    same = sum(each.repeats or 0 for each in _lowest_level(view))
    again = f" Of a booking's calls {same:.0f} ask the very same again: keep the first answer." if same >= 1 else ""
    return f"Begin with the calls that repeat: {labels.listing(named)}.{again}"


def by_target(view: CallView) -> pd.DataFrame:
    """One row a level, table or function and method."""
    rows = [
        {
            "level": each.label,
            "table or function": each.target,
            "method": each.method,
            "calls an attempt": labels.number(each.calls_per_attempt),
            "mean": labels.duration(each.mean_ms),
            "share of the time": labels.share(each.share),
            "share on the chain": labels.share(each.chain_share),
            "one after another": labels.number(each.in_a_row),
            "asked again": labels.number(each.repeats),
            "errors": labels.number(each.errors, 2),
        }
        for each in view.targets
    ]
    return pd.DataFrame(rows)


def bars(shown: Waterfall) -> pd.DataFrame:
    """One row a call of a waterfall."""
    rows = [
        {
            "from": labels.duration(bar.offset_ms),
            "took": labels.duration(bar.duration_ms),
            "method": bar.method,
            "table or function": bar.target,
            "status": bar.status,
            "asked the same": bar.repeat,
            "": figures.kind(bar),
        }
        for bar in shown.bars
    ]
    return pd.DataFrame(rows)


def waterfall(view: CallView, shown: Waterfall) -> Chart:
    """The calls of the median or the slowest attempt."""
    draw = partial(figures.waterfall, shown)
    return Chart(f"waterfall-{shown.which}", draw, _caption(view, shown), bars(shown))


def body(view: CallView) -> list[str]:
    """The pieces of a page's section: HTML, or Markdown."""
    table = markup.table(by_target(view), "Calls of an attempt by table or function, before its answer")
    return [summary(view), *(waterfall(view, each).html() for each in view.waterfalls), table]


def _caption(view: CallView, shown: Waterfall) -> str:
    after = f"; {labels.number(shown.after_answer)} more after the answer" if shown.after_answer else ""
    drawn = f", the first {figures.MOST_BARS} drawn" if len(shown.bars) > figures.MOST_BARS else ""
    in_a_row = f"{_about(view)}{shown.in_a_row}"
    outside = labels.share(shown.handler_ms / shown.request_ms) if shown.request_ms else labels.UNKNOWN
    return (
        f"The {shown.which} attempt by its request ({shown.label}, {labels.duration(shown.request_ms)}): "
        f"{labels.count(len(shown.bars), 'call')}{drawn}, {in_a_row} of them one after another{after}; "
        f"{labels.duration(shown.handler_ms)} ({outside}) lie outside every call."
    )


def _tap(view: CallView) -> str:
    if view.tap_adds_ms is None:
        return ""
    return f", nor the {view.tap_adds_ms:.2f} ms by which the tap itself holds it up, which are counted as the client's"


def _lost(view: CallView) -> str:
    lost = [
        labels.count(number, *noun)
        for number, *noun in ((view.lost_spans, "span"), (view.lost_bodies, "body of spans", "bodies of spans"))
        if number
    ]
    return f"On the way {labels.listing(lost)} were lost, so calls can be missing." if lost else ""


def _clocks(view: CallView) -> str:
    if not view.moved:
        return ""
    return (
        f"The platform's clock and ours differ by up to {labels.duration(view.moved_ms)}: the server spans of "
        f"{labels.count(view.moved, _ATTEMPT)} do not lie within the request, and were moved into it with their calls."
    )


def _about(view: CallView | None) -> str:
    """Clocks of whole milliseconds leave it open whether the shortest calls overlap."""
    return "about " if view and view.about else ""


def _most_in_a_row(view: CallView) -> str:
    worst = max(_lowest_level(view), key=lambda each: each.in_a_row or 0, default=None)
    if worst is None or (worst.in_a_row or 0) < OFTEN:
        return ""
    told = f"{_asked(worst)} {_about(view)}{_times(worst.in_a_row)} one after another in an attempt at {worst.label}."
    return f"{told[0].upper()}{told[1:]}"


def _together(view: CallView) -> str:
    if (view.together_ms or 0) < WORTH_SAYING_MS:
        return ""
    return (
        f"Reads that follow one another would save up to {labels.duration(view.together_ms)} of an attempt at "
        f"{view.together_level} if they were made at once, as far as none needs another's answer."
    )


def _lowest_level(view: CallView | None) -> list[TargetCalls]:
    """The calls at the lowest level where it is known whose they are."""
    known = [each for each in view.targets if each.in_a_row is not None] if view else []
    levels = level_order([each.label for each in known])
    return [each for each in known if each.label == levels[0]]


def _asked(each: TargetCalls) -> str:
    verb = "read" if each.method in READS else f"called ({each.method})"
    return f"{markup.code(each.target)} is {verb}"


def _times(number: float | None) -> str:
    rounded = round(number or 0)
    return {1: "once", 2: "twice"}.get(rounded, f"{rounded} times")
