"""Why the api's and the allocator's own parts take the time they take."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from slotfill.analyse.constants import MATERIAL_COST, MATERIAL_GROWTH
from slotfill.analyse.document import Finding
from slotfill.analyse.findings.measurements import INSIDE, Measurements, places, truth
from slotfill.analyse.findings.processor import stretch
from slotfill.analyse.hops import SERVER_LOG, SERVER_PROFILE

ENUMERATION_TEXT = "enumeration"
_SERVER_HOPS = ("api", "allocator", "database")
_NEEDS = f"{INSIDE}, and a second level of concurrency"

Instants = NDArray[np.datetime64]


def api_workers(case: Measurements) -> Finding:
    """Requests wait because only few are handled at once."""
    grown, front = case.accounts.grown_ms("api"), case.mean("front_wait_ms")
    slope = case.accounts.growth.get("api")
    if slope is None or not _divided(case):
        return Finding("api_workers", "unknown", "the API's own waiting was not measured", needs=_NEEDS)
    waited = _waited_ms(case, "api")
    waits = slope.positive and waited >= MATERIAL_GROWTH * case.total_ms
    figures = {"api_grew_ms": grown, "waited_ms": waited, "front_wait_ms": front}
    claim = f"the API's own time grows by {grown:.0f} ms, {waited:.0f} of them more than its fellow hops do"
    return Finding("api_workers", truth(waits), claim, figures, case.slowest("api_ms"), hop="api", cost_ms=waited)


def api_delay(case: Measurements) -> Finding:
    """The handler waits for something that is neither the allocator nor the database."""
    lowest = case.accounts.labels[0]
    api = min(case.accounts.mean_ms("api", lowest), case.hop_ms("api"))
    if not _divided(case):
        return Finding(
            "api_delay",
            "unknown",
            "the rest of the handler contains its database calls",
            {"rest_of_handler_ms": api},
            needs=INSIDE,
            hop="api",
        )
    utilisation = case.utilisations.get(lowest)
    computing = utilisation.web_ms * stretch(case, lowest) if utilisation is not None else 0.0
    cost = max(0.0, api - computing)
    figures = {"api_ms": api, "computing_ms": computing}
    claim = f"the handler spends {cost:.0f} ms outside allocator, database and processor"
    verdict = truth(case.is_material(cost))
    return Finding("api_delay", verdict, claim, figures, case.slowest("api_ms"), hop="api", cost_ms=cost)


def rate_limit(case: Measurements) -> Finding:
    """The platform turned bookings away because there were too many in a minute."""
    limited = case.attempts[(case.attempts["outcome"] == "rate_limited").to_numpy()]
    share = len(limited) / max(len(case.attempts), 1)
    # A runner that heeds Retry-After sees few refusals, but its workers stand still.
    idle = _paused_ms(case.attempts, limited)
    paced = idle / (idle + float(case.attempts["total_ms"].sum())) if idle else 0.0
    claim = f"{len(limited)} of {len(case.attempts)} attempts were answered 429"
    if paced >= MATERIAL_COST:
        claim += f", and the workers waited {paced:.0%} of their time to be let in again"
    figures = {"rate_limited": len(limited), "share": share, "paced_share": paced}
    where = places(limited, "last_line")
    return Finding("rate_limit", truth(len(limited)), claim, figures, where, hop="api")


def _paused_ms(attempts: pd.DataFrame, limited: pd.DataFrame) -> float:
    """What workers stood still between two attempts because somebody's was answered 429 since the first began.

    Of one level and round only: what lies between two rounds, or two runs, are no pauses.
    """
    if limited.empty:
        return 0.0
    paused = 0.0
    refused_at = np.sort(_instants(limited["ended_at"].dropna()))
    told = attempts[["label", "round_number", "worker", "started_at", "ended_at"]]
    timed = told.dropna(subset=["worker", "started_at"]).sort_values("started_at")
    for _, rows in timed.groupby(["label", timed["round_number"].fillna(0), "worker"]):
        before = rows[["started_at", "ended_at"]].shift()
        since, until = (np.searchsorted(refused_at, _instants(each["started_at"])) for each in (before, rows))
        idle_ms = (rows["started_at"] - before["ended_at"]).dt.total_seconds() * 1e3
        paused += float(idle_ms[until > since].clip(lower=0).sum())
    return paused


def _instants(times: pd.Series) -> Instants:
    return times.to_numpy(dtype="datetime64[us]")


def serialised_allocator(case: Measurements) -> Finding:
    """One allocation at a time: the others wait inside the allocator, and no processor is busy."""
    slope, grown = case.accounts.growth.get("allocator"), case.accounts.grown_ms("allocator")
    if slope is None or not _divided(case):
        return Finding("serialised_allocator", "unknown", "the allocator's own waiting was not measured", needs=_NEEDS)
    waited = _waited_ms(case, "allocator")
    waits = slope.positive and waited >= MATERIAL_GROWTH * case.total_ms
    claim = f"the allocator's own time grows by {grown:.0f} ms, {waited:.0f} of them more than its fellow hops do"
    figures = {"allocator_grew_ms": grown, "waited_ms": waited}
    where = case.slowest("allocator_ms")
    return Finding("serialised_allocator", truth(waits), claim, figures, where, hop="allocator", cost_ms=waited)


def enumeration(case: Measurements) -> Finding:
    """The search for tables runs into its own time limit."""
    texts = [case.attempts["allocator_reason"], case.attempts["reason"]]
    hit = sum(int(text.str.contains(ENUMERATION_TEXT, case=False, na=False).sum()) for text in texts)
    claim = f"{hit} attempts report that the enumeration of tables ran out of time"
    cost = case.hop_ms("allocator") if hit else 0.0
    return Finding("enumeration", truth(hit), claim, {"attempts": hit}, (), hop="allocator", cost_ms=cost)


def sequential_work(case: Measurements) -> Finding:
    """Quote, confirm and the rest one after another, with nothing in it that the logs could divide further."""
    divided = case.mean("tier")
    if divided is None or divided < SERVER_LOG:
        return Finding("sequential_work", "false", "the server's profile divides the request further")
    # As objects: of Arrow's strings each would be looked at by itself.
    measured = case.accounts.measured["booking_id"].astype(object)
    rows = case.server[case.server["booking_id"].astype(object).isin(measured).to_numpy()]
    quote, confirm = (float(rows[name].astype(float).mean()) for name in ("quote_ms", "confirm_ms"))
    cost = case.hop_ms("allocator")
    figures = {"quote_ms": quote, "confirm_ms": confirm} if rows["quote_ms"].notna().any() else {"allocator_ms": cost}
    claim = f"the allocator's steps take {cost:.0f} ms one after another"
    where = places(rows, "quote_line", 2)
    verdict = truth(case.is_material(cost))
    return Finding("sequential_work", verdict, claim, figures, where, hop="allocator", cost_ms=cost)


def cold_start(case: Measurements) -> Finding:
    """A development server compiles while a request waits."""
    cold = case.accounts.measured["cold_start_ms"]
    cost = case.mean("cold_start_ms") or 0.0
    claim = f"compiling took {cold.sum():.0f} ms of all attempts, {cost:.0f} ms of a mean one"
    verdict = truth(case.is_material(cost))
    return Finding(
        "cold_start", verdict, claim, {"cold_start_ms": cost}, case.slowest("cold_start_ms", 1), hop="api", cost_ms=cost
    )


def _divided(case: Measurements) -> bool:
    """The server's profile, or its calls as they were seen, tell the hops' own times from their database calls."""
    tier = case.mean("tier")
    return tier is not None and tier <= SERVER_PROFILE


def _waited_ms(case: Measurements, hop: str) -> float:
    """How much a hop grew beyond what the server's other hops did.

    Short processor time stretches every hop that computes; the other hops show by how much. What one
    hop grew beyond that, its attempts spent waiting for each other.
    """
    lowest, others = case.accounts.labels[0], [name for name in _SERVER_HOPS if name != hop]
    before = sum(case.accounts.mean_ms(name, lowest) for name in others)
    dilation = sum(case.hop_ms(name) for name in others) / before if before else 1.0
    return case.hop_ms(hop) - case.accounts.mean_ms(hop, lowest) * max(1.0, dilation)
