"""What a person sees while a level is driven: a live bar in a terminal, one line a level elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from slotfill.drive.driver import Progress
from slotfill.outcomes import CONFIRMED_OUTCOMES, in_words
from slotfill.plan import Plan

_BAR = "{desc} {percentage:3.0f} %|{bar}| {elapsed}, {remaining} left{postfix}"


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
    with tqdm(total=len(plan.slots), desc=plan.name, disable=not live, leave=False, bar_format=_BAR, ncols=80) as bar:

        def on_progress(line: dict[str, Any]) -> None:
            if "text" in line:
                texts.append(line["text"])
                return
            outcomes[line["outcome"]] += 1
            confirmed = line["outcome"] in CONFIRMED_OUTCOMES
            # A slot ends with its last attempt or with the first that is not confirmed: the rest is not asked for.
            done = 1 / per_slot if confirmed else 1 - (line["iteration"] - 1) / per_slot
            bar.set_postfix_str(in_words(outcomes), refresh=False)
            bar.update(min(done, len(plan.slots) - bar.n))

        yield on_progress
    told = in_words(outcomes) if outcomes else "nothing left to drive"
    for text in (f"{told} in {time.monotonic() - started:.0f} s", *texts):
        print(f"{plan.name}: {text}", file=sys.stderr, flush=True)
