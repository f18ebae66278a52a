"""The job worker: a process of its own that tries again to give a booking its tables."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import procrastinate
import psycopg
from procrastinate import JobContext, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Notification
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from whitehorse import bookings
from whitehorse.allocator import Allocator, AlreadyConfirmed, Budget
from whitehorse.database import Database, Row, report_pool_to, why
from whitehorse.inline import elapsed_ms
from whitehorse.jobs import QUEUE, TASK, JobQueue
from whitehorse.profile import Stopwatch
from whitehorse.seating import NO_CAPACITY
from whitehorse.server_log import JOB, PROFILE, LogHandler, ServerLog, instant
from whitehorse.settings import Settings

DEFAULT_WORKERS = 4
POLL_S = 0.02
SHUTDOWN_S = 3
ORPHAN_AFTER_S, ADOPT_EVERY_S = 30, 5
CUTOFF = timedelta(minutes=10)
NO_CAPACITY_ATTEMPTS = 2
BROKEN_DELAY, BROKEN_ATTEMPTS = timedelta(seconds=1), 20

LOAD = """
select b.*, (select min(at) from procrastinate_events e where e.job_id = %(job_id)s and e.type = 'deferred')
    as enqueued_at,
    exists (
        select from observability_events o where o.booking_id = b.id and o.event_type = 'auto_assign.summary'
        and o.context ->> 'jobId' = %(job_id)s::text
    ) as finished
from bookings b where b.id = %(booking_id)s
"""

SUMMARISE = """
insert into observability_events (source, event_type, restaurant_id, booking_id, context)
values ('auto_assign', 'auto_assign.summary', %(restaurant_id)s, %(booking_id)s, %(context)s)
"""


class TryAgain(Exception):
    """This attempt failed and there is another after ``delay_ms``."""

    def __init__(self, reason: str, delay_ms: float) -> None:
        super().__init__(reason)
        self.delay_ms = delay_ms


class Retry(BaseRetryStrategy):
    """An attempt says itself when the next one is due; one that broke (the database was gone) is repeated soon."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, TryAgain):
            delay = timedelta(milliseconds=exception.delay_ms)
        elif job.attempts < BROKEN_ATTEMPTS:
            delay = BROKEN_DELAY
        else:
            return None
        return RetryDecision(retry_at=datetime.now(UTC) + delay)


@dataclass(frozen=True)
class Outcome:
    """How one attempt ended: ``succeeded``, ``already_confirmed``, ``cutoff``, or ``no_hold``, ``error``: try again."""

    result: str
    reason: str | None = None


class AutoAssign:
    """Runs the attempts of jobs."""

    def __init__(self, database: Database, settings: Settings, log: ServerLog) -> None:
        self._database = database
        self._allocator = Allocator(database, settings, log)
        self._settings = settings
        self._log = log

    def attempt(self, job: Job, booking_id: UUID) -> None:
        """One attempt of a job. Raises TryAgain when there is to be another."""
        started_at, started = datetime.now(UTC), time.perf_counter()
        watch = Stopwatch("allocator", started)
        with self._database.session(watch) as session:
            booking = session.one(LOAD, {"job_id": job.id, "booking_id": booking_id})
        if booking is None or booking["finished"]:
            return
        outcome = self._allocate(job, booking, watch, started)
        again_ms = self._next_attempt_ms(job, outcome)
        result = outcome.result if again_ms is not None else self._finish(job, booking, outcome, watch)
        self._profile(job, booking, started_at, watch, result)
        if again_ms is not None:
            raise TryAgain(outcome.reason or outcome.result, again_ms)

    def _allocate(self, job: Job, booking: Row, watch: Stopwatch, started: float) -> Outcome:
        if booking["status"] not in bookings.OPEN_STATUSES:
            return Outcome("already_confirmed")
        if booking["start_at"] - datetime.now(UTC) < CUTOFF:
            return Outcome("cutoff", "The booking starts too soon")
        told = {"bookingId": booking["id"], "attempt": job.attempts}
        self._log.write(f"{JOB} attempt.start", {**told, "maxAttempts": len(self._settings.job_retry_delays_ms)})
        attempt_id = str(uuid4())
        try:
            with self._allocator.turn():
                outcome = self._hold_and_confirm(booking, told, attempt_id, watch, started)
        except AlreadyConfirmed:
            return Outcome("already_confirmed")
        except Exception as error:
            self._log.write(f"{JOB} attempt.error", {**told, "error": why(error)})
            outcome = Outcome("error", why(error))
        if outcome.reason:
            failed = _result(attempt_id, started, success=False, reason=outcome.reason)
            with self._database.session(watch) as session:
                bookings.keep_result(session, booking["id"], failed)
        return outcome

    def _hold_and_confirm(self, booking: Row, told: Row, attempt_id: str, watch: Stopwatch, started: float) -> Outcome:
        hold = self._allocator.find_hold(booking, watch)
        if hold is None:
            quote = self._allocator.quote(booking, watch, Budget())
            if quote.hold is None:
                self._log.write(f"{JOB} attempt.no_hold", {**told, "reason": quote.reason})
                return Outcome("no_hold" if quote.reason in NO_CAPACITY else "error", quote.reason)
            hold = quote.hold
        kept = _result(attempt_id, started, success=True, reason=None)
        self._allocator.confirm(booking, hold, watch, attempt_id=attempt_id, reason="auto_assign", result=kept)
        success = {"holdId": hold.id, "durationMs": elapsed_ms(started)}
        self._log.write(f"{JOB} attempt.success", {**told, **success})
        return Outcome("succeeded")

    def _next_attempt_ms(self, job: Job, outcome: Outcome) -> float | None:
        """How long until the next attempt; None if this one was the last."""
        if outcome.result not in ("no_hold", "error"):
            return None
        delays = self._settings.job_retry_delays_ms
        most = min(len(delays), NO_CAPACITY_ATTEMPTS) if outcome.result == "no_hold" else len(delays)
        return delays[job.attempts + 1] if job.attempts + 1 < most else None

    def _finish(self, job: Job, booking: Row, outcome: Outcome, watch: Stopwatch) -> str:
        """Write the job's end marker; returns the job's state."""
        result = "exhausted" if outcome.result == "no_hold" else outcome.result
        attempts = job.attempts + 1
        if result in ("exhausted", "error"):
            limit = len(self._settings.job_retry_delays_ms)
            told = {"bookingId": booking["id"], "attempts": attempts, "maxAttempts": limit}
            self._log.write(f"{JOB} exhausted", told)
        context = {"jobId": job.id, "result": result, "reason": outcome.reason, "attempts": attempts}
        params = {"restaurant_id": booking["restaurant_id"], "booking_id": booking["id"], "context": Jsonb(context)}
        with self._database.session(watch) as session:
            session.rows(SUMMARISE, params)
        return result

    def _profile(self, job: Job, booking: Row, started_at: datetime, watch: Stopwatch, result: str) -> None:
        spent = watch.cut(time.perf_counter())
        if not self._settings.profiling:
            return
        block = {
            "bookingId": booking["id"],
            "jobId": job.id,
            "attempt": job.attempts,
            "enqueuedAt": booking["enqueued_at"],
            "scheduledAt": job.scheduled_at or booking["enqueued_at"],
            "startedAt": started_at,
            "finishedAt": datetime.now(UTC),
            **spent.of_allocation(),
            "result": result,
        }
        self._log.write(f"{PROFILE} job", block)


def _result(attempt_id: str, started: float, *, success: bool, reason: str | None) -> dict[str, Any]:
    """What the booking keeps as auto_assign_last_result."""
    return {
        "source": "auto_assign_job",
        "lastAttemptAt": instant(datetime.now(UTC)),
        "success": success,
        "reason": reason,
        "strategy": {"maxTables": None, "requireAdjacency": None},
        "trigger": "creation",
        "alternates": 0,
        "durationMs": elapsed_ms(started),
        "attemptId": attempt_id,
        "emailSent": success,
        "emailVariant": "standard",
    }


async def run(database_url: str, settings: Settings, log_path: Path) -> None:
    """Work until SIGTERM."""
    workers = settings.faults.queue_workers or DEFAULT_WORKERS
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers + 1, thread_name_prefix="job"))
    log = ServerLog(log_path)
    report_pool_to(LogHandler(log, "[database]"))
    database = Database(database_url, settings, "whitehorse-worker")
    database.open()
    auto_assign = AutoAssign(database, settings, log)
    app = procrastinate.App(connector=_connector(database_url))

    @app.task(name=TASK, queue=QUEUE, retry=Retry(), pass_context=True)
    def attempt(context: JobContext, booking_id: str) -> None:
        auto_assign.attempt(context.job, UUID(booking_id))

    try:
        async with app.open_async():
            await _recover(app, database)
            beside = [asyncio.create_task(_adopt_orphans(database, settings, log))]
            if settings.faults.queue_delay_ms:
                beside.append(asyncio.create_task(_ring_when_due(app, settings.faults.queue_delay_ms / 1000)))
            await app.run_worker_async(
                queues=[QUEUE],
                concurrency=workers,
                fetch_job_polling_interval=POLL_S,
                shutdown_graceful_timeout=SHUTDOWN_S,
            )
            for task in beside:
                task.cancel()
    finally:
        database.close()


def _connector(database_url: str) -> PsycopgConnector:
    return PsycopgConnector(
        conninfo=database_url,
        kwargs={"application_name": "whitehorse-queue", "prepare_threshold": None},
        min_size=1,
        max_size=3,
    )


async def _ring_when_due(app: procrastinate.App, delay_s: float) -> None:
    """Tell of every job again once it is due; else a late job starts at the next poll, later than was planted."""
    ringing: dict[int, asyncio.Task[None]] = {}

    async def ring(channel: str, notification: Notification) -> None:
        await asyncio.sleep(delay_s)
        with suppress(ConnectorException):  # the database is away; the next poll finds the job
            again = {"channel": channel, "payload": json.dumps(notification)}
            await app.connector.execute_query_async("select pg_notify(%(channel)s, %(payload)s)", **again)

    async def on_notification(*, channel: str, notification: Notification) -> None:
        if notification["job_id"] not in ringing:  # what rings is heard here as well
            ringing[notification["job_id"]] = asyncio.create_task(ring(channel, notification))

    await app.job_manager.listen_for_jobs(on_notification=on_notification, queues=[QUEUE])


async def _recover(app: procrastinate.App, database: Database) -> None:
    """Take up the jobs a killed worker left running: there is one worker process, so none of them is."""
    with database.session(Stopwatch("allocator")) as session:
        session.rows("delete from procrastinate_workers")
    for job in await app.job_manager.get_stalled_jobs(queue=QUEUE):
        await app.job_manager.retry_job(job)


async def _adopt_orphans(database: Database, settings: Settings, log: ServerLog) -> None:
    """Schedule jobs of bookings whose request lost the database before it could; no client waits that long for one."""
    queue = JobQueue(settings, log)

    def adopt() -> None:
        with suppress(psycopg.Error, PoolTimeout), database.session(Stopwatch("allocator")) as session:
            queue.adopt_orphans(session, ORPHAN_AFTER_S)

    while settings.auto_assign:
        await asyncio.to_thread(adopt)
        await asyncio.sleep(ADOPT_EVERY_S)
