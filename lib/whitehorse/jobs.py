"""The auto-assign job of a booking that was not confirmed inline: scheduled by the web, run by the worker."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import procrastinate
from procrastinate import SyncPsycopgConnector

from whitehorse.database import Row, Session
from whitehorse.server_log import JOB, ServerLog
from whitehorse.settings import Settings

QUEUE = "auto_assign"
TASK = "auto_assign"

# Bookings nobody is working on, if they are old enough.
ORPHANS = """
select b.id from bookings b
where b.source = 'api' and b.status in ('pending', 'pending_allocation') and b.start_at > now()
  and b.created_at <= now() - make_interval(secs => %(older_than_s)s)
  and not exists (select from procrastinate_jobs j where j.lock = b.id::text)
"""

# The end is known from the job's summary as soon as it is written; until then from the queue.
STATE = """
select j.id, coalesce((s.context ->> 'attempts')::int, j.attempts) as attempts,
    j.status::text as status, s.context ->> 'result' as result,
    coalesce(s.context ->> 'reason', b.auto_assign_last_result ->> 'reason') as reason,
    (select min(at) from procrastinate_events e where e.job_id = j.id and e.type = 'deferred') as enqueued_at,
    (select min(at) from procrastinate_events e where e.job_id = j.id and e.type = 'started') as started_at,
    s.created_at as finished_at
from procrastinate_jobs j
join bookings b on b.id::text = j.lock
left join lateral (
    select context, created_at from observability_events o
    where o.booking_id = b.id and o.source = 'auto_assign' and o.event_type = 'auto_assign.summary'
      and o.context ->> 'jobId' = j.id::text
    order by o.id limit 1
) s on true
where j.lock = %(booking_id)s
order by j.id desc limit 1
"""

DEPTH = """
select count(*) filter (where status = 'todo') as waiting, count(*) filter (where status = 'doing') as running,
    (select count(*) from procrastinate_workers) as workers
from procrastinate_jobs where status in ('todo', 'doing')
"""

_STATE_OF_STATUS = {"todo": "scheduled", "doing": "running", "succeeded": "succeeded"}


class SessionConnector(SyncPsycopgConnector):
    """Lets procrastinate write a job through a Session, so that its round trip is counted like any other."""

    def execute_query_all_with_connection(self, connection: Any, query: Any, **arguments: Any) -> list[Row]:
        session: Session = connection
        return session.rows(query, self._wrap_json(arguments))


class JobQueue:
    """The web's end of the queue."""

    def __init__(self, settings: Settings, log: ServerLog) -> None:
        self._delay = timedelta(milliseconds=settings.faults.queue_delay_ms)
        self._log = log
        self._app = procrastinate.App(connector=SessionConnector())

    def defer(self, session: Session, booking_id: UUID) -> None:
        """Schedule the job of a booking. One job of a booking runs at a time."""
        due_at = datetime.now(UTC) + self._delay if self._delay else None
        job = self._app.configure_task(TASK, queue=QUEUE, lock=str(booking_id), schedule_at=due_at, connection=session)
        job.defer(booking_id=str(booking_id))
        told = {"bookingId": booking_id, "reason": "creation", "emailVariant": "standard", "bypass": False}
        self._log.write(f"{JOB} scheduled", told)

    def adopt_orphans(self, session: Session, older_than_s: float) -> None:
        """Schedule the job of bookings whose request failed before it could."""
        for orphan in session.rows(ORPHANS, {"older_than_s": older_than_s}):
            self.defer(session, orphan["id"])


def state(session: Session, booking_id: UUID, settings: Settings) -> Mapping[str, Any] | None:
    """The job of a booking as the API shows it; None if it has none."""
    job = session.one(STATE, {"booking_id": str(booking_id)})
    if job is None:
        return None
    return {
        "id": job["id"],
        "state": job["result"] or _STATE_OF_STATUS.get(job["status"], "error"),
        "attempts": job["attempts"],
        "maxAttempts": len(settings.job_retry_delays_ms),
        "reason": job["reason"],
        "enqueuedAt": job["enqueued_at"],
        "startedAt": job["started_at"],
        "finishedAt": job["finished_at"],
    }


def depth(session: Session) -> Row:
    """How many jobs wait and run, and how many workers are there."""
    counted = session.one(DEPTH)
    assert counted
    return counted
