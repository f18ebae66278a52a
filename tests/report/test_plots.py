import pandas as pd
import pytest
from matplotlib.colors import to_hex

from slotfill.analyse import study
from slotfill.attempt import frame
from slotfill.report import labels, plots, tables


def drawn(figure) -> bytes:
    """Render: a layout or a missing glyph would warn here, and warnings are errors."""
    figure.canvas.draw()
    return bytes(figure.canvas.buffer_rgba())


def samples(rows) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=study.SAMPLE_COLUMNS)
    return table.assign(at=pd.to_datetime(table["at"], utc=True))


def test_hop_stack_adds_up_to_the_mean_time_of_an_attempt(bottleneck):
    figure = plots.hop_stack(tables.hop_rows(bottleneck))
    drawn(figure)
    bars = [patch for patch in figure.axes[0].patches if patch.get_y() < 0.2]
    assert sum(bar.get_width() for bar in bars) == pytest.approx(1000)


def test_a_hop_has_its_colour_in_both_halves_of_the_figure(bottleneck):
    figure = plots.hop_stack(tables.hop_rows(bottleneck))
    stacked = {to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches}
    dotted = {to_hex(line.get_color()) for line in figure.axes[1].lines}
    expected = {labels.HOP_COLOURS[name].lower() for name in ("api", "allocator", "unexplained")}
    assert stacked == expected
    assert dotted == expected


def test_time_axis_turns_to_seconds_when_milliseconds_stop_reading_well(bottleneck):
    rows = tables.hop_rows(bottleneck)
    assert "(ms)" in plots.hop_stack(rows).axes[0].get_xlabel()
    assert "(s)" in plots.hop_stack(rows.assign(mean_ms=rows["mean_ms"] * 20)).axes[0].get_xlabel()


def test_distribution_has_a_curve_for_each_level_and_leaves_out_unconfirmed_attempts(attempts):
    figure = plots.latency_distributions(attempts)
    drawn(figure)
    curves = figure.axes[1].lines
    assert [line.get_label() for line in curves] == ["concurrency-1", "concurrency-4"]
    assert max(curves[0].get_xdata()) == 720  # iteration 3, at 730, was not confirmed


def test_outcome_bars_are_as_high_as_the_slot_had_attempts(attempts):
    figure = plots.outcomes(attempts)
    drawn(figure)
    heights = [patch.get_height() for patch in figure.axes[0].patches]
    assert sum(heights) == 6
    assert [text.get_text() for text in figure.legends[0].texts] == ["confirmed in the request", "tables ran out"]


def test_timeline_bar_lasts_as_long_as_its_attempt(attempts):
    figure = plots.timeline(attempts)
    drawn(figure)
    assert {round(patch.get_width(), 6) for patch in figure.axes[0].patches} == {0.9}


def test_charts_over_time_count_from_the_same_instant(attempts):
    """A session seen when the second attempt began stands where the bar of that attempt begins."""
    attempts["label"] = "concurrency-8"
    second = sorted(set(attempts["started_at"]))[1]
    seen = [(second - pd.Timedelta(seconds=9), 0.0), (second, 3.0), (second + pd.Timedelta(seconds=1), 0.0)]
    rows = samples([("concurrency-8", at, "server", "active", value) for at, value in seen])
    database = plots.database_over_time(tables.session_rows(rows, attempts))
    timeline = plots.timeline(attempts)
    drawn(database)
    [line] = database.axes[0].lines
    begins = sorted({round(patch.get_x(), 6) for patch in timeline.axes[0].patches})
    assert line.get_xdata()[line.get_ydata().argmax()] == begins[1] == 1
    assert database.axes[0].get_xlabel() == timeline.axes[0].get_xlabel()


def test_database_chart_names_the_most_sessions_that_waited_for_a_lock_at_once(attempts):
    attempts["label"] = "concurrency-8"
    seen = [("connections", [9, 9, 9]), ("waiting_for_lock", [0, 5, 2]), ("xact_commit", [100, 200, 300])]
    rows = tables.session_rows(
        samples(
            [
                ("concurrency-8", f"2026-12-08T16:00:0{second}Z", "server", metric, float(value))
                for metric, values in seen
                for second, value in enumerate(values)
            ]
        ),
        attempts,
    )
    figure = plots.database_over_time(rows)
    drawn(figure)
    assert "concurrency-8 at most 5 waiting for a lock" in figure.get_label()
    assert [text.get_text() for text in figure.legends[0].texts] == ["connected", "waiting for a lock"]
    assert tables.sessions(rows).to_dict("records") == [
        {"level": "concurrency-8", "connected, at most": "9", "waiting for a lock, at most": "5", "samples": 3}
    ]


@pytest.mark.parametrize("draw", [plots.latency_distributions, plots.seat_waste, plots.outcomes, plots.timeline])
def test_charts_of_attempts_say_so_when_there_are_none(draw, attempts):
    figure = draw(attempts.iloc[:0])
    drawn(figure)
    assert figure.get_label().startswith("No ")


@pytest.mark.parametrize(
    ("draw", "empty"),
    [
        (plots.hop_stack, tables.hop_rows({})),
        (plots.stage_latencies, tables.stage_rows({"levels": []})),
        (plots.database_over_time, tables.session_rows(samples([]), frame([]))),
    ],
)
def test_charts_of_summaries_say_so_when_there_is_nothing(draw, empty):
    figure = draw(empty)
    drawn(figure)
    assert figure.get_label().startswith("No ")


@pytest.mark.parametrize("draw", [plots.latency_distributions, plots.seat_waste, plots.outcomes, plots.timeline])
def test_one_attempt_is_enough_for_a_chart(draw, attempts):
    figure = draw(attempts.iloc[:1])
    drawn(figure)
    assert not figure.get_label().startswith("No ")


def test_stage_latencies_draw_a_level_without_interval(metrics):
    metrics["levels"][0]["submit_ms"]["ci95"] = None
    figure = plots.stage_latencies(tables.stage_rows(metrics))
    drawn(figure)
    assert "concurrency-1 submit (POST) 1.00 s" in figure.get_label()


def test_levels_stand_in_counting_order():
    assert labels.level_order(["concurrency-10", "concurrency-8", "concurrency-8", "near"]) == [
        "concurrency-8",
        "concurrency-10",
        "near",
    ]
