"""One booking attempt, measured: submit, inline poll, background job, post-job poll, outcome.

An attempt writes the log lines of the platform's own runner as it goes and always ends with a final
summary, also where it is cancelled in mid-flight. Durations are milliseconds on a monotonic clock.
"""

from functools import cache
from typing import Any

import httpx

from slotfill import events
from slotfill.drive.answer import Answer
from slotfill.drive.client import Client, new_trace_id
from slotfill.drive.reconcile import SERVER_GRACE_MS, find, follow
from slotfill.drive.state import BookingState
from slotfill.drive.submit import mask_email, mask_phone, prepare, submit
from slotfill.drive.summary import Record, Result
from slotfill.drive.watch import Decision, LevelContext, Order, Sink, Watch
from slotfill.drive.wire import Wire, rounded
from slotfill.outcomes import EXHAUSTED

POST_JOB_AT_LEAST_MS = 5_000
"""However long the phases before took, the job's effect is waited for at least this long."""
READ_BACK_TRIES = 4


class NotInDatabase(Exception):
    """The platform says that it has booked, and the database holds no such booking."""


class BookingAttempt:
    """An attempt on its way through the phases; what they yield is kept in its record. No retry: one request.

    ``decide`` makes it, and ``complete`` ends it where that is still to be done.
    """

    def __init__(self, order: Order, level: LevelContext, client: Client, write: Sink) -> None:
        self._order, self._level, self._client = order, level, client
        self._clock = level.clock
        self.wire = Wire(level.clock)
        self._started_ms = level.clock.ms()
        self.record = Record(order, level, write, trace_id=new_trace_id())
        self.record.watch = Watch(level, client, self.record.tell)

    @property
    def lost(self) -> bool:
        """The answer was lost, and the database holds no booking so far, or one that is not decided."""
        answer, record = self.record.answer, self.record
        undecided = not record.settled or record.outcome == "failed_background_timeout"
        return answer is not None and answer.lost and undecided

    @property
    def server_may_go_on(self) -> bool:
        return self.record.answer is not None and self.record.answer.server_may_go_on

    async def decide(self) -> Result | None:
        """From the first line to the outcome; the total ends with the outcome, however it came.

        ``None`` where the platform's answer has confirmed the booking: the worker can go on, and ``complete`` has yet
        to look at the tables. Where the answer was lost, the outcome is that of the booking, if there is one
        (``settled``). Cancelling it ends the attempt as ``aborted``, with its summary written, and the cancellation
        goes on; so do NotInDatabase, and Indeterminate, raised where the answer was lost and the database does not say
        whether there is a booking.
        """
        record = self.record
        try:
            outcome = await self._submit()
        except BaseException:
            record.summarise()
            raise
        if outcome is None and record.initial_status == "confirmed":
            record.outcome, record.total_ms = "confirmed_inline_api", record.submit_ms
            return None
        try:
            await self._find_outcome(outcome)
        finally:
            record.summarise()
        return record.result()

    async def complete(self) -> Result:
        """Look at the tables of a booking that the answer confirmed, off the path of the load, and write the summary.

        Cancelled, it is written without them. Raises NotInDatabase.
        """
        try:
            await self._read_back()
        finally:
            self.record.summarise()
        return self.record.result()

    async def _find_outcome(self, of_request: str | None) -> None:
        """The outcome of an attempt that the answer has not confirmed."""
        record = self.record
        if of_request is None:
            record.outcome = await self._confirm()
            record.total_ms = self._clock.ms() - self._started_ms
            return
        assert record.answer is not None
        record.total_ms = record.submit_ms
        booking = await self._look_up(record.answer) if record.answer.lost else None
        if booking is None:
            record.outcome = of_request
        else:
            await follow(record, booking, self._started_ms + self._level.settings.timeout_ms)

    async def _read_back(self) -> None:
        record, watch, booking_id = self.record, self.record.watch, self.record.booking_id
        assert booking_id is not None
        for last_try in (*[False] * (READ_BACK_TRIES - 1), True):
            await watch.read_back(booking_id)
            if watch.booking is not None or last_try:
                break
            await self._clock.sleep(self._level.settings.poll_interval_ms)
        self._require_found()
        # Where the reads failed the platform's word stands; the tables are then unknown.
        if watch.booking is None or watch.booking.confirmed:
            return
        record.outcome = "aborted"  # until it is decided after all
        record.outcome = await self._confirm()
        record.total_ms = self._clock.ms() - self._started_ms

    def _require_found(self) -> None:
        record = self.record
        if record.watch.missing:
            record.outcome = "aborted"
            record.problem = (
                f"the platform says it has booked {record.booking_id}, and the database holds no such booking"
            )
            raise NotInDatabase(f"{record.problem}: they do not belong together")

    async def _submit(self) -> str | None:
        """The outcome where the request already decided it."""
        record, settings, slot = self.record, self._level.settings, self._order.slot
        url = _url(self._level.base_url)
        assert record.trace_id is not None
        request = prepare(slot, self._order.attempt, settings, url, record.trace_id)
        self._tell_start()
        asked = {
            "url": str(url),
            "restaurantSlug": settings.restaurant_slug,
            "restaurantId": None,
            "date": slot.date,
            "time": slot.time,
            "party": slot.party_size,
            "bookingType": slot.booking_type,
            "seating": settings.seating,
            "marketingOptIn": False,
            "traceId": record.trace_id,
        }
        record.tell("INFO", events.SUBMIT, events.SUBMITTING, asked)
        self._started_ms = self._clock.ms()
        try:
            answer = await submit(request, settings.submit_timeout_ms, self._client, self.wire, self._clock)
        finally:
            record.wire = self.wire.fields()
        record.take_answer(answer)
        timing = {"durationMs": rounded(answer.duration_ms), "httpStatus": answer.http_status, **record.wire}
        if answer.outcome is not None:
            record.tell("ERROR", events.SUBMIT, answer.message, timing)
            return answer.outcome
        attempt = self._order.attempt
        masked = {"maskedEmail": mask_email(attempt.email), "maskedPhone": mask_phone(attempt.phone)}
        created = {"duplicate": answer.duplicate, "initialStatus": record.initial_status, **timing, **masked}
        record.tell("INFO", events.SUBMIT, events.CREATED, created)
        return None

    async def _confirm(self) -> str:
        """From the platform's answer to the outcome, by what the database says."""
        booking_id = self.record.booking_id
        assert booking_id is not None
        decision = await self._poll_inline(booking_id)
        if decision != "timeout":
            return _outcome(decision, "inline")
        self._require_found()
        expired = {"state": "timeout", "attempts": self.record.inline_polls}
        self.record.tell("WARN", events.INLINE_POLL, events.INLINE_WINDOW_EXPIRED, expired)
        await self._look_at_job(booking_id)
        return _outcome(await self._poll_post_job(booking_id), "background")

    async def _poll_inline(self, booking_id: str) -> Decision:
        record, started = self.record, self._clock.ms()
        deadline = started + self._level.settings.inline_window_ms
        try:
            decision = await record.watch.until(deadline, booking_id, events.INLINE_POLL)
        finally:
            record.inline_polls, record.inline_ms = record.watch.polls, self._clock.ms() - started
        record.tell_end(events.INLINE_POLL, decision)
        return decision

    async def _look_at_job(self, booking_id: str) -> None:
        """The platform has scheduled the job itself; where its own client runs the job again, this one looks."""
        record, started = self.record, self._clock.ms()
        record.background_invoked = True
        record.tell("INFO", events.BACKGROUND_JOB, events.TRIGGERING_JOB, {})
        await record.watch.read_job(booking_id)
        record.background_ms = self._clock.ms() - started
        job = record.watch.job
        found = {"durationMs": rounded(record.background_ms), "jobState": job.state if job else None}
        record.tell("INFO", events.BACKGROUND_JOB, events.JOB_INVOKED, found)

    async def _poll_post_job(self, booking_id: str) -> Decision:
        record, started = self.record, self._clock.ms()
        deadline = max(self._started_ms + self._level.settings.timeout_ms, started + POST_JOB_AT_LEAST_MS)
        try:
            decision = await record.watch.until(deadline, booking_id, events.POST_JOB_POLL)
        finally:
            record.post_job_polls, record.post_job_ms = record.watch.polls, self._clock.ms() - started
        record.tell_end(events.POST_JOB_POLL, decision)
        return decision

    async def _look_up(self, answer: Answer) -> BookingState | None:
        """The booking of a request whose answer was lost, outside the measurement."""
        until_ms = self._clock.ms() + (SERVER_GRACE_MS if answer.server_may_go_on else 0)
        booking = await find(self._order, self._level, lambda: self._clock.ms() < until_ms)
        if booking is not None:
            found = {"bookingId": booking.id, "bookingStatus": booking.status}
            self.record.tell("WARN", events.DIAGNOSTICS, "Booking found although its request failed", found)
        return booking

    def _tell_start(self) -> None:
        settings, order, level = self._level.settings, self._order, self._level
        fields: dict[str, Any] = {
            "iteration": order.attempt.iteration,
            "totalRuns": "stress",
            "timeoutMs": settings.timeout_ms,
            "inlineWindowMs": settings.inline_window_ms,
            "pollIntervalMs": settings.poll_interval_ms,
            "idempotencyKey": order.attempt.idempotency_key,
            "worker": order.worker,
            "level": level.label,
            "concurrency": level.concurrency,
            "round": level.round_number,
            "slot": order.slot.time,
            "partySize": order.slot.party_size,
            "clockOffsetMs": rounded(level.clock_offset_ms),
        }
        self.record.tell("INFO", events.BOOTSTRAP, events.STARTING, fields)


@cache
def _url(base_url: str) -> httpx.URL:
    """Parsed once a level: that takes as long as sending a request."""
    return httpx.URL(f"{base_url}/api/bookings")


def _outcome(decision: Decision, stage: str) -> str:
    if decision == "confirmed":
        return "confirmed_inline_poll" if stage == "inline" else "confirmed_background"
    return EXHAUSTED if decision == "exhausted" else f"failed_{stage}_{decision}"
