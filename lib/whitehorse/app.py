"""The web process: HTTP in, HTTP out. One event loop receives, a thread pool handles."""

import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.to_thread
import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from psycopg_pool import PoolTimeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whitehorse import bookings, jobs, telemetry
from whitehorse.booking_service import Answer, BookingService, Refused, presentable
from whitehorse.database import Database, report_pool_to, why
from whitehorse.profile import Stopwatch
from whitehorse.requests import InvalidPayload, parse
from whitehorse.server_log import PROFILE, LogHandler, ServerLog
from whitehorse.settings import Settings

DEFAULT_THREADS = 64
GIL_SWITCH_S = 0.0005
GRACE_S = 3
KEEP_ALIVE_S = 75  # longer than clients keep idle connections, or a request meets the close of its own
HEALTH = "/api/health"


@dataclass
class Arrival:
    """A request from the moment it reached the application, before it waits for a thread."""

    watch: Stopwatch
    received_at: datetime
    answer: Answer | None = None


class Timekeeper:
    """Stamps arrivals before anything queues, and tells the server log once the answer has left."""

    def __init__(self, app: ASGIApp, log: ServerLog, settings: Settings) -> None:
        self._app = app
        self._log = log
        self._profiling = settings.profiling

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        arrival = scope["arrival"] = Arrival(Stopwatch("api"), datetime.now(UTC))
        status = 500

        async def noting_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        finally:
            self._tell(scope, arrival, status)

    def _tell(self, scope: Scope, arrival: Arrival, status: int) -> None:
        spent = arrival.watch.cut(time.perf_counter())
        answer = arrival.answer
        if answer and self._profiling:
            headers = dict(scope["headers"])
            block = {
                "bookingId": answer.booking_id,
                "attemptId": answer.attempt_id,
                "correlationId": headers.get(b"x-booking-flow-correlation", b"").decode("latin-1") or None,
                "receivedAt": arrival.received_at,
                "respondedAt": datetime.now(UTC),
                **spent.of_request(),
                "inlineContinues": answer.inline_continues,
            }
            self._log.write(f"{PROFILE} request", block)
        self._log.access(scope["method"], scope["path"], status, spent.total_ms)


class Api:
    """The endpoints."""

    def __init__(self, settings: Settings, database_url: str, log: ServerLog, *, by_proxy: bool = False) -> None:
        self._settings = settings
        self._log = log
        self._database = Database(database_url, settings, "whitehorse-web", by_proxy=by_proxy)
        self._reception = BookingService(self._database, settings, log)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = self._settings.faults.api_workers or DEFAULT_THREADS
        report_pool_to(LogHandler(self._log, "[database]"))
        self._database.open()
        self._reception.recover()
        yield
        self._reception.close()
        self._database.close()

    async def create_booking(self, request: Request) -> Response:
        """``POST /api/bookings``."""
        body = await request.body()
        arrival: Arrival = request.scope["arrival"]
        arrival.answer = await run_in_threadpool(self._create, body, request, arrival.watch)
        return _json(arrival.answer.status, arrival.answer.body, arrival.answer.headers)

    def _create(self, body: bytes, request: Request, watch: Stopwatch) -> Answer:
        client = request.client.host if request.client else "unknown"
        try:
            payload = json.loads(body)
        except ValueError:
            return Answer(400, {"error": "Invalid JSON payload"})
        try:
            return self._reception.book(parse(payload), request.headers.get("idempotency-key"), client, watch)
        except InvalidPayload as invalid:
            return Answer(400, {"error": "Invalid payload", "details": invalid.details})
        except Refused as refused:
            return refused.answer
        except (psycopg.OperationalError, PoolTimeout) as error:
            self._log.write("[bookings][POST] failed", {"error": why(error)})
            return Answer(500, {"error": "Unable to reach the database", "code": "RESTAURANT_LOOKUP_FAILED"})
        except Exception as error:
            self._log.write("[bookings][POST] failed", {"error": why(error)})
            return Answer(500, {"error": why(error)})

    def read_booking(self, booking_id: UUID, request: Request) -> Response:
        """``GET /api/bookings/{id}``: the booking and its tables."""
        with self._database.session(request.scope["arrival"].watch) as session:
            booking = bookings.read(session, booking_id)
            assigned = bookings.assignments(session, booking_id) if booking else []
        if booking is None:
            return _json(404, {"error": "Booking not found", "code": "BOOKING_NOT_FOUND"})
        return _json(200, {"booking": presentable(booking), "assignments": [_camel(row) for row in assigned]})

    def read_job(self, booking_id: UUID, request: Request) -> Response:
        """``GET /api/bookings/{id}/job``: the state of its auto-assign job."""
        with self._database.session(request.scope["arrival"].watch) as session:
            job = jobs.state(session, booking_id, self._settings)
        return _json(200, {"job": job}) if job else _json(404, {"error": "No job for this booking", "code": "NO_JOB"})

    def health(self) -> Response:
        """``GET /api/health``: how the platform is set up and how deep its queue is."""
        with self._database.session(Stopwatch("api")) as session:
            queue = jobs.depth(session)
        told = {
            "status": "ok",
            "now": datetime.now(UTC),
            "devMode": False,
            "profiling": self._settings.profiling,
            "flags": self._settings.flags,
            "faults": self._settings.faults.planted(),
            "jobRetryDelaysMs": self._settings.job_retry_delays_ms,
            "queue": queue,
        }
        return _json(200, told)

    def failed(self, _: Request, error: Exception) -> Response:
        """The answer to a GET that could not reach the database."""
        self._log.write("[bookings] failed", {"error": why(error)})
        return _json(500, {"error": why(error)})


def create_app(settings: Settings, database_url: str, log: ServerLog, *, by_proxy: bool = False) -> FastAPI:
    """The ASGI application; ``by_proxy``: the database's URL leads to a proxy in front of it."""
    api = Api(settings, database_url, log, by_proxy=by_proxy)
    app = FastAPI(title="White Horse", lifespan=api.lifespan, openapi_url=None)
    routes: list[tuple[str, str, Callable[..., Any]]] = [
        ("POST", "/api/bookings", api.create_booking),
        ("GET", "/api/bookings/{booking_id}", api.read_booking),
        ("GET", "/api/bookings/{booking_id}/job", api.read_job),
        ("GET", HEALTH, api.health),
    ]
    for method, path, endpoint in routes:
        app.add_api_route(path, endpoint, methods=[method], response_model=None)
    app.add_exception_handler(psycopg.Error, api.failed)
    app.add_exception_handler(PoolTimeout, api.failed)
    app.add_middleware(Timekeeper, log=log, settings=settings)
    return app


def serve(settings: Settings, database_url: str, log_path: Path, listening_fd: int, *, by_proxy: bool = False) -> None:
    """Answer requests on an inherited listening socket until SIGTERM."""
    # Threads that come back from waiting for the database get the interpreter soon, even from a busy one.
    sys.setswitchinterval(GIL_SWITCH_S)
    app: ASGIApp = create_app(settings, database_url, ServerLog(log_path), by_proxy=by_proxy)
    send_last = None
    if settings.otlp_endpoint:
        app, send_last = telemetry.instrument(app, settings.otlp_endpoint, HEALTH)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    # Not by uvicorn's own `fd`: it takes any socket for a Unix one, and answers then wait for delayed ACKs.
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening_fd)])
    if send_last is not None:
        send_last()


def _json(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(body, default=_encode)
    return Response(content, status, dict(headers or {}), media_type="application/json")


def _encode(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _camel(row: Mapping[str, Any]) -> dict[str, Any]:
    """Column names as the platform's JSON has them: ``table_id`` → ``tableId``."""
    return {"".join([first, *map(str.title, rest)]): row[name] for name in row for first, *rest in [name.split("_")]}
