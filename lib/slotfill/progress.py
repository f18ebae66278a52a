"""What a person sees while a level is driven: a live bar in a terminal, one line a level elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from slotfill.attempt import CONFIRMED_OUTCOMES
from slotfill.drive.driver import Progress
from slotfill.plan import Plan


@contextmanager
def following(plan: Plan) -> Iterator[Progress]:
    """A callback for the driver's progress that keeps the bar, and the level's summary line at the end."""
    asked = sum(len(slot.attempts) for slot in plan.slots)
    per_slot = max(len(slot.attempts) for slot in plan.slots)
    outcomes: Counter[str] = Counter()
    texts: list[str] = []
    started = time.monotonic()
    live = sys.stderr.isatty()
    if not live:
        print(f"{plan.name}: filling {len(plan.slots)} slots, up to {asked} bookings", file=sys.stderr, flush=True)
    with tqdm(total=asked, desc=plan.name, unit="booking", disable=not live, leave=False) as bar:

        def on_progress(line: dict[str, Any]) -> None:
            if "text" in line:
                texts.append(line["text"])
                return
            outcomes[line["outcome"]] += 1
            bar.update()
            if line["outcome"] not in CONFIRMED_OUTCOMES and bar.total:
                # The slot ends here: what it had still planned is not asked for.
                bar.total -= per_slot - line["iteration"]
            bar.set_postfix_str(line["slot"])

        yield on_progress
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()) or "nothing left to drive"
    print(f"{plan.name}: {told} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
