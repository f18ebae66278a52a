"""Which attempts failed in the outage that stopped a load: they say nothing of the slot, and are made again."""

from collections import deque

from slotfill.database_errors import is_database_error
from slotfill.drive.summary import Result
from slotfill.plan import SlotPlan

_OUTAGE = ("api_error", "api_unreachable", "api_timeout")


class OutageWatch:
    """Fed every result; remembers as many as the brakes look at."""

    def __init__(self, window: int) -> None:
        self._last: deque[tuple[Result, SlotPlan, int]] = deque(maxlen=window)

    def note(self, result: Result, slot: SlotPlan, iteration: int) -> None:
        self._last.append((result, slot, iteration))

    def failed(self) -> list[tuple[SlotPlan, list[int]]]:
        """The slots with the iterations to make again, in the order of their failures."""
        failed: dict[str, tuple[SlotPlan, list[int]]] = {}
        for result, slot, iteration in self._last:
            if not result.confirmed and _of_outage(result):
                failed.setdefault(slot.time, (slot, []))[1].append(iteration)
        return list(failed.values())


def _of_outage(result: Result) -> bool:
    if result.outcome in _OUTAGE or result.read_errors:
        return True
    return result.reason is not None and is_database_error(result.reason)
