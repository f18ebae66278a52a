"""The tests on other days: ``make other-days`` runs all of them on each, ``--short`` what depends on the date.

The clock of every process is shifted by libfaketime, Postgres's too; monotonic clocks are left alone, so that nothing
is measured by it. Where its library does not load (it is built for Linux on x86-64) the script says so and ends with 0.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

NOW = datetime.now(UTC)
DAYS = {
    "in five days": NOW + timedelta(days=5),
    "the clocks go forward": datetime(2027, 3, 28, 0, 40, tzinfo=UTC),
    "the clocks go back": datetime(2027, 10, 31, 0, 40, tzinfo=UTC),
    "the year ends": datetime(2026, 12, 31, 23, 30, tzinfo=UTC),
    "a leap day": datetime(2028, 2, 29, 12, 0, tzinfo=UTC),
    "a Sunday": datetime(2027, 6, 6, 12, 0, tzinfo=UTC),
}
SHORT = [
    "tests/test_plan.py",
    "tests/test_params.py",
    "tests/whitehorse/test_hours.py",
    "tests/database/test_seed.py",
    "tests/drive/test_driver.py::test_a_small_fill_is_in_the_logs_as_it_is_in_the_database",
]


def library() -> Path | None:
    spec = find_spec("libfaketime")
    found = [] if spec is None or spec.origin is None else list(Path(spec.origin).parent.rglob("libfaketime.so*"))
    return next(iter(found), None)


def shifted(preload: Path, to: datetime) -> dict[str, str]:
    """The environment of a process that begins at an instant; as an offset, so that all processes share one clock."""
    return {
        **os.environ,
        "LD_PRELOAD": str(preload),
        "FAKETIME": f"{round((to - datetime.now(UTC)).total_seconds()):+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def loads(preload: Path) -> bool:
    """Whether a process started with the library really has another date."""
    asked = [sys.executable, "-c", "import datetime; print(datetime.date.today().year)"]
    environment = shifted(preload, datetime(2031, 6, 1, tzinfo=UTC))
    return subprocess.run(asked, check=False, env=environment, capture_output=True, text=True).stdout.strip() == "2031"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="only what depends on the date")
    short = parser.parse_args().short
    preload = library()
    if preload is None or not loads(preload):
        print("other days: no clock can be shifted here (libfaketime does not load), so no other day was tried")
        return 0
    words = SHORT if short else ["-n", "3", "--dist", "loadfile"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]

    def passes(day: datetime) -> bool:
        done = subprocess.run(command, check=False, env=shifted(preload, day), stdout=subprocess.PIPE, text=True)
        told = done.stdout if done.returncode else done.stdout.splitlines()[-1]
        print(f"other days: {day:%Y-%m-%d %H:%M} UTC: {told}", flush=True)
        return done.returncode == 0

    # The short form uses one core a day.
    with ThreadPoolExecutor(2 if short else 1) as days:
        passed = dict(zip(DAYS, days.map(passes, DAYS.values()), strict=True))
    failed = [name for name, well in passed.items() if not well]
    print(
        f"other days: {len(DAYS) - len(failed)} of {len(DAYS)} days passed"
        + (f", not: {', '.join(failed)}" * bool(failed))
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
