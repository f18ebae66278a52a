"""The charts of a study: ``Plots(study).hops()`` and so on, each with its caption and its table."""

from dataclasses import dataclass
from functools import partial

import pandas as pd

from slotfill.analyse import sessions
from slotfill.analyse.study import Study
from slotfill.attempt import is_confirmed
from slotfill.report import labels, points, tables
from slotfill.report.chart import Chart
from slotfill.report.figures import attempts as attempt_figures
from slotfill.report.figures import database as database_figures
from slotfill.report.figures import hops as hop_figures
from slotfill.report.figures import latency as latency_figures


@dataclass(frozen=True)
class Plots:
    """Every chart of a study, by name."""

    study: Study

    def hops(self) -> Chart:
        """Where the time of an attempt goes, a bar a level."""
        rows = points.hop_rows(self.study.document)
        return Chart("hops", partial(hop_figures.stack, rows), self._hops_caption(), tables.hops(self.study.document))

    def growth(self) -> Chart:
        """Mean time of each hop against the load it met."""
        document = self.study.document
        rows, load = points.load_points(document)
        draw = partial(hop_figures.growth, rows, points.fitted_lines(document), load, document.verdict)
        return Chart("growth", draw, self._growth_caption(), tables.growth(document))

    def throughput(self) -> Chart:
        """Confirmed bookings a minute against the load met, with the limit that the slowest hop sets."""
        rows, load = points.throughput_points(self.study.metrics)
        limit = self.study.document.throughput_limit_per_min
        told = [f"{labels.number(row['per_min'])} at {row['label']}" for row in rows.to_dict("records")]
        caption = f"Confirmed bookings a minute: {labels.listing(told) or 'not known'}."
        if limit:
            hop = labels.hop(self.study.document.verdict)
            caption += f" However many ask, the {hop} lets about {labels.number(limit, 0)} a minute through."
        draw = partial(hop_figures.throughput, rows, load, limit)
        return Chart("throughput", draw, caption, tables.throughput(rows, load))

    def stages(self) -> Chart:
        """The flow's stages for each level, mean with interval."""
        rows, metrics = points.stage_rows(self.study.metrics), self.study.metrics
        means = [f"{labels.duration(m['total_ms']['mean'])} at {m['label']}" for m in metrics["levels"]]
        caption = f"Mean total of a confirmed booking: {labels.listing(means)}."
        return Chart("stages", partial(latency_figures.stages, rows), caption, tables.stages(metrics))

    def latency_over_time(self) -> Chart:
        """Total time of each confirmed booking at the moment it began."""
        maxima = [f"{labels.duration(m['total_ms']['max'])} at {m['label']}" for m in self.study.metrics["levels"]]
        caption = f"Each confirmed booking by when it began; the slowest took {labels.listing(maxima)}."
        table = tables.witnesses(self.study.attempts)
        return Chart("over-time", partial(latency_figures.over_time, self._confirmed()), caption, table)

    def latency(self) -> Chart:
        """The distribution of the total time of confirmed bookings."""
        medians = [f"{labels.duration(m['total_ms']['p50'])} at {m['label']}" for m in self.study.metrics["levels"]]
        caption = f"Half of the confirmed bookings took at most {labels.listing(medians)}."
        table = tables.percentiles(self.study.metrics, "total_ms")
        return Chart("latency", partial(latency_figures.distribution, self._confirmed()), caption, table)

    def outcomes(self) -> Chart:
        """How the attempts of every slot ended."""
        told = [
            f"{level['confirmed']} of {labels.count(level['attempts'], 'attempt')} confirmed at {level['label']}"
            for level in self.study.metrics["levels"]
        ]
        draw = partial(attempt_figures.outcomes, self.study.attempts)
        return Chart("outcomes", draw, f"{labels.listing(told)}.", tables.outcomes(self.study.attempts))

    def seat_waste(self) -> Chart:
        """Seats given beyond the party's size, by slot and level."""
        means = points.seat_waste_rows(self.study.document)
        told = [
            f"{level['seat_waste']['mean']:.2f} at {level['label']}"
            for level in self.study.metrics["levels"]
            if level["seat_waste"]["mean"] is not None
        ]
        caption = f"Seats wasted per booking, on average {labels.listing(told) or 'not known'}."
        return Chart("seats", partial(attempt_figures.seat_waste, means), caption, tables.seat_waste(means))

    def timeline(self) -> Chart:
        """When every booking ran, a lane a worker."""
        caption = (
            "Bookings to scale, a lane a worker; attempts that found their slot full are thin lines, "
            "and pauses without a booking are left out."
        )
        draw = partial(attempt_figures.timeline, self.study.attempts)
        return Chart("timeline", draw, caption, tables.workers(self.study.attempts))

    def database(self) -> Chart:
        """Database sessions by what they do."""
        rows = sessions.by_instant(self.study.samples)
        interval_ms = self.study.record.get("parameters", {}).get("sample_interval_ms")
        every = f", looked at every {interval_ms} ms: what is shorter is seen by chance only" if interval_ms else ""
        caption = f"Sessions of the database while attempts ran{every}."
        draw = partial(database_figures.sessions, rows, self.study.attempts)
        return Chart("database", draw, caption, tables.sessions(self.study.document))

    def _confirmed(self) -> pd.DataFrame:
        attempts = self.study.attempts
        return attempts.loc[is_confirmed(attempts), ["label", "slot", "started_at", "total_ms"]]

    def _hops_caption(self) -> str:
        told = []
        for label, costs in self.study.document.shares.items():
            known = {hop: cost for hop, cost in costs.items() if cost.share is not None}
            if known:
                first = max(known, key=lambda hop: known[hop].share or 0)
                told.append(f"{labels.share(known[first].share)} of an attempt at {label} is {labels.hop(first)}")
        return f"{'; '.join(told)}." if told else "No attempt could be split into hops."

    def _growth_caption(self) -> str:
        document = self.study.document
        growth = document.growth.get(document.verdict) or document.growth.get("total")
        if growth is None:
            return "These data do not say how the time grows with the load."
        name = labels.hop(document.verdict) if document.verdict in document.growth else "total"
        return (
            f"With each doubling of the workers the {name} changes by {labels.duration(growth.per_doubling_ms)} "
            f"(95 % interval {labels.interval(growth.ci95)})."
        )
