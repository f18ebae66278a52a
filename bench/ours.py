"""Our measuring client against the server that does nothing: ``ours.py PORT DELAY_MS WORKERS SECONDS``.

DELAY_MS may be ``20~5``, for 15 to 25. Prints, as JSON, requests a second and what we measured beyond the server's own
figure (ms; p50, p99).
"""

import asyncio
import json
import ssl
import sys
import time

import httpx
import numpy as np

from slotfill.drive.client import HEADERS, Client, open_transport, traceparent
from slotfill.drive.clock import SystemClock
from slotfill.drive.noop import SERVER_MS
from slotfill.drive.wire import Wire

BODY = json.dumps({"restaurantSlug": "x", "date": "2026-03-03", "time": "17:00", "party": 2}).encode()


async def main(port: int, delay: str, workers: int, seconds: float) -> dict[str, float]:
    url, added = f"http://127.0.0.1:{port}/{delay}/api/bookings", list[float]()
    delay_ms = float(delay.partition("~")[0])
    context = ssl.create_default_context()  # takes long: not once a worker
    until = time.perf_counter() + seconds

    async def work(number: int) -> int:
        await asyncio.sleep(number * delay_ms / 1e3 / workers)
        done, clock = 0, SystemClock()
        async with Client(open_transport(url, context, False, clock)) as client:
            while time.perf_counter() < until:
                wire = Wire(clock)
                headers = HEADERS | {"Content-Type": "application/json", "traceparent": traceparent()}
                received = await client.send(httpx.Request("POST", url, headers=headers, content=BODY), 30_000, wire)
                added.append((wire.duration_ms or 0.0) - json.loads(received.content)["booking"][SERVER_MS])
                done += 1
        return done

    total = sum(await asyncio.gather(*map(work, range(workers))))
    p50, p99 = np.percentile(added, [50, 99])
    return {"per_s": total / seconds, "p50": float(p50), "p99": float(p99)}


if __name__ == "__main__":
    port, delay, workers, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(main(int(port), delay, int(workers), float(seconds)))))
