"""Which two runs can be compared: those that differ in the platform only, and asked it for the same."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from slotfill.errors import BadInput
from slotfill.params import RETIRED

WHAT_MAY_CHANGE = ("faults", "flags", "date", "thresholds", "env_file", "server_log")
"""Parameters that change the platform or nothing; every other one changes the load or the measuring."""
INSTRUMENTING = ("otlp_listen", "telemetry")
"""What listens to a platform's OpenTelemetry, and switches that of the embedded one on."""

_OF_PLATFORM = ("parameters.faults", "parameters.flags")
_MUST_MATCH = ("parameters", "versions", "host")


def require_alike(
    before: Mapping[str, Any], after: Mapping[str, Any], instrumented: tuple[bool, bool] = (False, False)
) -> dict[str, list[Any]]:
    """What differs between two ``run.json`` and may, as ``{name: [before, after]}``.

    ``instrumented``: whether each run heard spans. A plain and an instrumented run of one platform measure what
    instrumenting costs, and are never mixed with another change. Raises BadInput naming what makes runs incomparable.
    """
    differing = {
        f"{part}.{name}": [old, new]
        for part in _MUST_MATCH
        for name, old, new in _differences(before.get(part, {}), after.get(part, {}))
    }
    allowed = {f"parameters.{name}" for name in (*WHAT_MAY_CHANGE, *INSTRUMENTING)}
    unlike = [f"{name} ({old} → {new})" for name, (old, new) in differing.items() if name not in allowed]
    if unlike:
        raise BadInput(f"these runs cannot be compared: {'; '.join(unlike)}; repeat one with what the other had")
    if instrumented[0] != instrumented[1] and (other := [name for name in _OF_PLATFORM if name in differing]):
        which = "second" if instrumented[1] else "first"
        raise BadInput(
            f"these runs cannot be compared: the {which} ran with OpenTelemetry, whose cost is not told from what "
            f"{' and '.join(other)} changed; repeat one with what the other had"
        )
    return {name.partition(".")[2]: pair for name, pair in differing.items()}


def require_same_plan(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raises BadInput where two runs' attempts asked for other parties in the slots of a level and round."""
    old, new = (_parties(each) for each in (before, after))
    shared = set(old.index.get_level_values("label")) & set(new.index.get_level_values("label"))
    both = pd.concat({"old": old, "new": new}, axis=1)
    both = both[both.index.get_level_values("label").isin(shared)]
    unlike = both[(both["old"] != both["new"]).fillna(True)]
    if len(unlike):
        first = unlike.reset_index().iloc[0]
        asked = " and ".join("none" if pd.isna(first[side]) else str(first[side]) for side in ("old", "new"))
        where = f"{first['label']}, round {first['round_number']}, {first['slot']}"
        raise BadInput(
            f"these runs cannot be compared: their plans differ at {len(unlike)} places, first at {where} "
            f"(parties of {asked}); repeat one with the other's seed and slots, to its end"
        )


def _parties(attempts: pd.DataFrame) -> pd.Series:
    """The party size of each slot of each level and round."""
    known = attempts[attempts["slot"].notna().to_numpy()]
    rounds = known["round_number"].fillna(1) if "round_number" in known else pd.Series(1, known.index)
    named = known.assign(round_number=rounds)
    return named.groupby(["label", "round_number", "slot"])["party_size"].max()


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    names = sorted({*before, *after} - RETIRED.keys())
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]
