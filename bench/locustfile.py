"""Locust's fastest user against the server that does nothing: what it measures beyond the server's own figure, as JSON.

The server and the delay come in the environment: ``BENCH_URL``. With ``BENCH_FLOW`` each booking is read back by a
GET; the requests are whole flows then. ``BENCH_OUT`` names a file for the same JSON.
"""

import json
import os
from pathlib import Path

from locust import FastHttpUser, constant, events, task

BODY = {"restaurantSlug": "x", "date": "2026-03-03", "time": "17:00", "party": 2}
ADDED: list[float] = []
READS_BACK = bool(os.environ.get("BENCH_FLOW"))


class Guest(FastHttpUser):
    host = os.environ["BENCH_URL"]
    wait_time = constant(0)

    @task
    def book(self) -> None:
        with self.client.post("/api/bookings", json=BODY, catch_response=True) as answer:
            took_ms = answer.request_meta["response_time"]
            booking = json.loads(answer.text)["booking"]
            ADDED.append(took_ms - booking["serverMs"])
        if READS_BACK:
            self.client.get(f"/api/bookings/{booking['id']}", name="/api/bookings/[id]")


@events.quitting.add_listener
def report(**_: object) -> None:
    added = sorted(ADDED)
    p50, p99 = (added[int(share * (len(added) - 1))] for share in (0.5, 0.99))
    told = json.dumps({"requests": len(added), "p50": p50, "p99": p99})
    print(told, flush=True)
    if out := os.environ.get("BENCH_OUT"):
        Path(out).write_text(told, encoding="utf-8")
