"""Charts hold what they say, in both widths, on a few rows and on none; their marks say what they are."""

import re
from functools import partial

import pandas as pd
import pytest
from matplotlib.colors import to_hex

from slotfill.analyse import seat_costs, sessions
from slotfill.analyse.call_view import Bar, Waterfall
from slotfill.analyse.document import Bottleneck
from slotfill.analyse.level_order import level_order
from slotfill.analyse.study import SAMPLE_COLUMNS
from slotfill.attempt import frame, is_confirmed
from slotfill.report import labels, points, svg, tables
from slotfill.report.figures import attempts as attempt_figures
from slotfill.report.figures import calls, database, hops, latency


def drawn(figure) -> str:
    """Render: a layout or a missing glyph would warn here, and warnings are errors."""
    return svg.render(figure, "test")


def titles(figure) -> list[str]:
    return re.findall("<title>(.*?)</title>", drawn(figure))


def samples(rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=SAMPLE_COLUMNS)
    return table.assign(at=pd.to_datetime(table["at"], utc=True))


@pytest.mark.parametrize("narrow", [False, True])
def test_the_hop_bars_add_up_to_the_mean_time_of_an_attempt_and_name_their_hop(document, narrow):
    figure = hops.stack(points.hop_rows(document), narrow)
    (axes,) = figure.axes
    bars = [patch for patch in axes.patches if abs(patch.get_y() + patch.get_height() / 2) < 0.1]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1000)
    assert "API at concurrency-1: 300 ms (30 %)" in titles(figure)
    assert {to_hex(patch.get_facecolor()) for patch in axes.patches} == {
        labels.HOP_COLOURS[name].lower() for name in ("api", "allocator", "unexplained")
    }


def test_colours_are_variables_of_the_page_with_themselves_as_fallback(document):
    picture = drawn(hops.stack(points.hop_rows(document), False))
    assert "fill: var(--hop-allocator, #d55e00)" in picture
    assert not re.search(r"(?<!, )#d55e00", picture)


def test_text_stays_text_and_every_id_is_the_charts_own(document):
    picture = drawn(hops.stack(points.hop_rows(document), False))
    assert ">concurrency-8</text>" in picture
    assert all(name.startswith("test-") for name in re.findall(r'\bid="([^"]*)"', picture))
    assert "http://www.w3.org" not in picture.partition(">")[2]


def test_time_axis_turns_to_seconds_when_milliseconds_stop_reading_well(document):
    rows = points.hop_rows(document)
    assert "(ms)" in hops.stack(rows, False).axes[0].get_xlabel()
    assert "(s)" in hops.stack(rows.assign(mean_ms=rows["mean_ms"] * 20), False).axes[0].get_xlabel()


def test_growth_draws_each_hop_against_the_load_with_its_interval(document):
    rows, load = points.load_points(document)
    figure = hops.growth(rows, points.fitted_lines(document), load, "allocator", False)
    assert load == "workers"
    assert "allocator at concurrency-4: 600 ms (95 % interval 540 to 660 ms)" in titles(figure)


def test_one_level_has_no_growth_to_draw(document):
    rows = points.hop_rows(document)
    alone = rows[(rows["label"] == "concurrency-1").to_numpy()].assign(load=1.0)
    figure = hops.growth(alone, points.fitted_lines(document), "workers", "allocator", False)
    assert "One level alone shows no growth." in drawn(figure)


def test_distribution_has_a_curve_for_each_level(attempts):
    figure = latency.distribution(attempts[is_confirmed(attempts)], False)
    drawn(figure)
    assert [line.get_label() for line in figure.axes[0].lines] == ["concurrency-1", "concurrency-4"]
    assert max(figure.axes[0].lines[0].get_xdata()) == 900


def test_outcome_bars_are_as_high_as_the_slot_had_attempts(attempts):
    figure = attempt_figures.outcomes(attempts, False)
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == 6
    assert "16:15 at concurrency-4: 2 confirmed in the request" in titles(figure)
    assert [text.get_text() for text in figure.legends[0].texts] == ["confirmed in the request", "tables ran out"]


def test_a_timeline_shows_bookings_to_scale_and_folds_what_waited_for_a_full_slot(attempts):
    late = (attempts["outcome"] == "exhausted").to_numpy()
    attempts.loc[late, "ended_at"] += pd.Timedelta(seconds=60)
    figure = attempt_figures.timeline(attempts, False)
    drawn(figure)
    bookings = [patch for patch in figure.axes[0].patches if patch.get_height() > 0.5]
    assert {round(bar.get_width(), 6) for bar in bookings} == {0.9}
    assert figure.axes[0].get_xlim()[1] < 5


def test_database_chart_leaves_out_what_was_sampled_outside_the_attempts(attempts):
    attempts["label"] = "concurrency-8"
    seen = [("connections", [9, 9, 9]), ("waiting_for_lock", [0, 5, 2]), ("xact_commit", [100, 200, 300])]
    rows = sessions.by_instant(
        samples(
            [
                ("concurrency-8", f"2026-12-08T16:00:0{second + 1}Z", "server", metric, float(value))
                for metric, values in seen
                for second, value in enumerate(values)
            ]
        )
    )
    figure = database.sessions(rows, attempts, False)
    drawn(figure)
    assert [text.get_text() for text in figure.legends[0].texts] == ["connected", "waiting for a lock"]
    document = Bottleneck("unknown", "", "unknown", sessions=sessions.busiest(rows))
    assert tables.sessions(document).to_dict("records") == [
        {"level": "concurrency-8", "connected, at most": "9", "waiting for a lock, at most": "5", "samples": 3}
    ]


@pytest.mark.parametrize("narrow", [False, True])
def test_a_waterfall_has_a_bar_a_call_where_it_began_and_as_long_as_it_took(narrow):
    bars = (
        Bar(2.0, 10.0, "GET", "restaurants", "200", failed=False, on_chain=True, repeat=1),
        Bar(4.0, 5.0, "GET", "restaurants", "200", failed=False, on_chain=False, repeat=2),
        Bar(20.0, 8.0, "POST", "table_holds", "409", failed=True, on_chain=True, repeat=1),
    )
    figure = calls.waterfall(Waterfall("median", "a", "concurrency-1", "trace", 30.0, 12.0, 2, 0.0, bars), narrow)
    drawn_bars = sorted((bar.get_y(), bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches)
    assert [(x, width) for _, x, width in drawn_bars] == [(2.0, 10.0), (4.0, 5.0), (20.0, 8.0)]
    assert "POST table_holds: 8.0 ms from 20 ms, 409" in titles(figure)
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()][1].endswith("restaurants ×2")
    assert [text.get_text() for text in figure.legends[0].texts] == [calls.CHAIN, calls.BESIDE, calls.FAILED]


def _seat_waste(attempts):
    seats = tuple(seat_costs.costs(attempts, {"levels": []}))
    return points.seat_waste_rows(Bottleneck("unknown", "", "unknown", seats=seats))


OF_ATTEMPTS = [
    latency.over_time,
    latency.distribution,
    attempt_figures.outcomes,
    attempt_figures.timeline,
    lambda rows, narrow: attempt_figures.seat_waste(_seat_waste(rows), narrow),
]


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("draw", OF_ATTEMPTS)
def test_charts_of_attempts_draw_one_attempt_and_say_so_when_there_is_none(draw, attempts, narrow):
    assert "<title>" in drawn(draw(attempts.iloc[:1], narrow))
    nothing = draw(attempts.iloc[:0], narrow)
    assert not nothing.axes and len(nothing.texts) == 1
    drawn(nothing)


@pytest.mark.parametrize(
    "draw",
    [
        partial(hops.stack, pd.DataFrame(columns=["label", "hop", "mean_ms", "share"])),
        partial(latency.stages, points.stage_rows({"levels": []})),
        partial(hops.throughput, *points.throughput_points({"levels": []}), None),
        partial(database.sessions, sessions.by_instant(samples([])), frame([])),
    ],
)
def test_charts_of_summaries_say_so_when_there_is_nothing(draw):
    figure = draw(False)
    assert not figure.axes and len(figure.texts) == 1
    drawn(figure)


def test_stages_draw_a_level_without_interval(metrics):
    metrics["levels"][0]["submit_ms"]["ci95"] = None
    assert "submit (POST) at concurrency-1: 1.00 s (–)" in titles(latency.stages(points.stage_rows(metrics), False))


def test_levels_stand_in_counting_order():
    assert level_order(["concurrency-10", "concurrency-8", "concurrency-8", "near"]) == [
        "concurrency-8",
        "concurrency-10",
        "near",
    ]
