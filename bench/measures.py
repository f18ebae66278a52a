"""What is measured, one function a figure; each gives its figures by their names."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import peers
import reading

HERE = Path(__file__).parent
SLOTFILL = str(Path(sys.executable).with_name("slotfill"))


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """A command on one core, where ``taskset`` is and there are that many."""
    can_pin = shutil.which("taskset") and (os.cpu_count() or 1) > core
    return ["taskset", "-c", str(core), *command] if can_pin else list(command)


def throughput(command: Sequence[str], megabytes: float) -> dict[str, float]:
    """MB a second of processor time, and the memory of the largest process."""
    seconds, largest_mb = reading.cost(pinned(0, command))
    return {"MB/s": megabytes / seconds, "memory, MB": largest_mb}


def elapsed(command: Sequence[str], megabytes: float) -> dict[str, float]:
    """MB a second of the clock on the wall, on all cores."""
    began = time.perf_counter()
    reading.cost(list(command))
    return {"MB/s": megabytes / (time.perf_counter() - began)}


def start_up(command: Sequence[str]) -> dict[str, float]:
    return {"s of processor time": reading.cost(pinned(0, command))[0]}


@contextmanager
def server() -> Iterator[int]:
    """The server that does nothing, on a core of its own."""
    command = pinned(1, [sys.executable, "-m", "slotfill.drive.noop"])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        yield int(process.stdout.readline())
        process.stdin.close()


def our_requests(delay: str, workers: int, seconds: int) -> dict[str, float]:
    with server() as port:
        arguments = [str(port), delay, str(workers), str(seconds)]
        command = pinned(0, [sys.executable, str(HERE / "ours.py"), *arguments])
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return _figures(told, delay)


def locust_requests(delay: str, workers: int, seconds: int) -> dict[str, float]:
    locust = peers.command("locust")
    assert locust is not None
    command = [locust, "-f", str(HERE / "locustfile.py"), "--headless", "-u", str(workers), "-r", str(workers)]
    with server() as port:
        environment = os.environ | {"BENCH_URL": f"http://127.0.0.1:{port}/{delay}"}
        done = subprocess.run(
            pinned(0, [*command, "-t", f"{seconds}s", "--only-summary"]),
            env=environment, check=True, capture_output=True, text=True,
        )  # fmt: skip
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"requests"')))
    return _figures(told | {"per_s": told["requests"] / seconds}, delay)


def _figures(told: dict[str, float], delay: str) -> dict[str, float]:
    """At a delay what was added counts, at none how many there were."""
    if delay == "0":
        return {"requests/s": told["per_s"]}
    return {"p50, ms": told["p50"], "p99, ms": told["p99"]}


def report(logs: Path, folder: Path) -> dict[str, float]:
    out = folder / "report"
    shutil.rmtree(out, ignore_errors=True)
    seconds, largest_mb = reading.cost(pinned(0, [SLOTFILL, "report", str(logs), "--out", str(out)]))
    return {"s": seconds, "memory, MB": largest_mb}


def apart(name: str, *arguments: object) -> dict[str, float]:
    """What a function of this file measures, in a process of its own: what it imports would count for every command
    that is started afterwards, whose memory begins as that of the process that starts it."""
    command = [sys.executable, __file__, name, *map(str, arguments)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(told.splitlines()[-1]))


def driven(workers: str, database_ms: str) -> dict[str, float]:
    """A level of the driver's own, journal and reading back included, on a platform that answers after 20 ms."""
    import in_flight

    from slotfill.drive.target import open_platform
    from slotfill.params import Settings

    case = in_flight.Case(int(workers), float(database_ms), 200)
    with TemporaryDirectory() as home, open_platform(Settings(), Path(home) / "platform") as platform:
        in_flight.prepare(platform.database_url)
        told = in_flight.drive(case, platform.database_url, Path(home) / "run" / "concurrency")
    return {"requests in flight": told["mean"], "flows/s of processor time": 1e3 / told["cpu_ms"]}


def locust_flows(workers: int, seconds: int) -> dict[str, float]:
    """A POST and a GET each, by processor time, without a journal."""
    locust = peers.command("locust")
    assert locust is not None
    command = [locust, "-f", str(HERE / "locustfile.py"), "--headless", "-u", str(workers), "-r", str(workers)]
    with server() as port, TemporaryDirectory() as folder:
        told = Path(folder, "told")
        environment = os.environ | {
            "BENCH_URL": f"http://127.0.0.1:{port}/20", "BENCH_FLOW": "1", "BENCH_OUT": str(told)
        }  # fmt: skip
        used_s, _ = reading.cost(pinned(0, [*command, "-t", f"{seconds}s", "--only-summary"]), environment)
        flows = json.loads(told.read_text())["requests"]
    return {"flows/s of processor time": flows / used_s}


def run_overhead(folder: str) -> dict[str, float]:
    """What a run of ``params/base.yaml`` takes beyond its load: from a level's plan to its last attempt is load."""
    import pandas as pd

    from slotfill.read import read_logs

    out = Path(folder, "run")
    began = time.perf_counter()
    reading.cost([SLOTFILL, "run", "-f", str(HERE.parent / "params" / "base.yaml"), "--out", str(out)])
    whole_s = time.perf_counter() - began
    load_s = 0.0
    for plan in out.glob("concurrency-*/round-*/plan.json"):
        ended: datetime = pd.Timestamp(read_logs([plan.parent]).attempts["ended_at"].max()).to_pydatetime()
        load_s += ended.timestamp() - plan.stat().st_mtime
    return {"s beyond the load": whole_s - load_s, "s of load": load_s}


if __name__ == "__main__":
    print(json.dumps({"driven": driven, "run_overhead": run_overhead}[sys.argv[1]](*sys.argv[2:])))
