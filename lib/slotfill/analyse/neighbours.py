"""Processes that have nothing to do with the run: at which levels they used its machine, and what can still be said."""

from dataclasses import replace

from slotfill.analyse import constants
from slotfill.analyse.findings.measurements import Measurements


def hogged(case: Measurements) -> tuple[str, ...]:
    """The levels at which processes of others took much of the machine."""
    cores = constants.HOG_SHARE * (case.cpus or 1)
    labels = case.accounts.labels
    return tuple(
        label for label in labels if label in case.utilisations and case.utilisations[label].others_cores >= cores
    )


def alike(case: Measurements, hogged: tuple[str, ...]) -> tuple[Measurements, bool]:
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


def is_starved(case: Measurements) -> bool:
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
