"""The short form of ``make hostile``: the worst kinds of answer to every request of the driver."""

import asyncio
import gc
import importlib.util
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[1] / "hostile.py"
WORST = ("binary", "a gzip bomb", "deep JSON", "a list", "chunks that are garbage", "a body shorter than told")
ENDLESS = ("silence", "a dripping body", "endless headers", "endless chunks")
OUTCOMES = {
    "closed at once": "api_unreachable",
    "not HTTP": "api_unreachable",
    "101": "api_error",
    "301 to itself": "api_error",
    "status 600": "api_error",
    "bad gzip": "api_error",
    "a gzip bomb": "api_error",
    "deep JSON": "api_error",
    "3 MB": "api_error",
    "endless headers": "api_error",
    "silence": "api_timeout",
    "a dripping body": "api_timeout",
    "103 and then the answer": "confirmed_inline_api",
    "a status that is a number": "confirmed_inline_poll",
    "no id": "api_error",
    "an id that is no UUID": "api_error",
    "an error that is a dict": "api_error",
    "Retry-After: nan": "rate_limited",
}


@pytest.fixture(scope="module")
def hostile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hostile", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module
    spec.loader.exec_module(module)
    return module


def test_bad_answers_to_any_request_end_with_an_outcome_and_ctrl_c_is_heeded(hostile: ModuleType) -> None:
    assert asyncio.run(hostile.play_all(WORST, hostile.REQUESTS, [None])) == (len(WORST), [])
    assert asyncio.run(hostile.play_all(ENDLESS, hostile.REQUESTS, [None, 0.25])) == (len(ENDLESS), [])


def test_no_answer_is_a_fault_of_doctors_own(hostile: ModuleType) -> None:
    odd = ("charset", "date", "redirect", "half of deep JSON", "a header", "odd health")
    kinds = [*WORST, *(kind for kind in hostile.answers() if kind.startswith(odd))]

    assert asyncio.run(hostile.examine_all(kinds)) == (len(kinds), [])


def test_what_comes_of_a_booking_that_is_answered_oddly(hostile: ModuleType, tmp_path: Path) -> None:
    # What is to end by itself has time to, however busy the machine.
    endless = [kind for kind, outcome in OUTCOMES.items() if outcome == "api_timeout"]
    by_itself = [kind for kind in OUTCOMES if kind not in endless]
    ended = {}
    for kinds, wait_ms in ((by_itself, 60_000), (endless, 2_000)):
        folder = tmp_path / f"{wait_ms}"
        folder.mkdir()
        ended |= asyncio.run(hostile.outcomes(kinds, folder, wait_ms))

    assert ended == {kind: [outcome] for kind, outcome in OUTCOMES.items()}


def test_an_answer_that_is_done_with_takes_no_memory(hostile: ModuleType) -> None:
    gc.disable()  # as good as in a driver under load, where it comes seldom
    tracemalloc.start()
    try:
        asyncio.run(hostile.play_all(["many headers", "endless headers", "endless trailers"], ["warm-up POST"], [None]))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()

    assert kept < 2_000_000
