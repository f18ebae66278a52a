"""Locust's fastest user against the server that does nothing: what it measures beyond the server's own figure, as JSON.

The server and the delay come in the environment: ``BENCH_URL``.
"""

import json
import os
import time

from locust import FastHttpUser, constant, events, task

BODY = {"restaurantSlug": "x", "date": "2026-03-03", "time": "17:00", "party": 2}
ADDED: list[float] = []
BEGUN = time.perf_counter()


class Guest(FastHttpUser):
    host = os.environ["BENCH_URL"]
    wait_time = constant(0)

    @task
    def book(self) -> None:
        with self.client.post("/api/bookings", json=BODY, catch_response=True) as answer:
            took_ms = answer.request_meta["response_time"]
            ADDED.append(took_ms - json.loads(answer.text)["booking"]["serverMs"])


@events.quitting.add_listener
def report(**_: object) -> None:
    added = sorted(ADDED)
    p50, p99 = (added[int(share * (len(added) - 1))] for share in (0.5, 0.99))
    print(json.dumps({"requests": len(added), "p50": p50, "p99": p99}), flush=True)
