"""Planted faults: real mechanisms that make one part of the platform the bottleneck, all off by default."""

import hashlib
import time

from pydantic import BaseModel, ConfigDict, Field, field_validator

ROW_LOCK_HELD_MS = 60.0
_BLOCK = bytes(256 * 1024)


class Faults(BaseModel):
    """What to plant. Durations are milliseconds; 0 or false plants nothing.

    The web process: ``api_cpu_ms`` burns processor time in each booking request, ``api_delay_ms`` waits,
    ``api_workers`` is how many requests are handled at once (the rest queue), ``rate_limit_per_min`` is the
    number of creations a minute for each venue and client.

    The allocator: ``allocator_cpu_ms`` burns processor time in each quote, ``allocator_serial`` lets one
    allocation run at a time in each process, ``inline_timeout_ms`` replaces the inline budget (0: the request
    allocates nothing, everything goes to the job).

    The database: ``db_rtt_ms`` is added to every round trip, ``db_pool_size`` bounds each process's
    connections, ``db_max_connections`` is the server's own limit, ``db_slow_query_ms`` makes the quote's query
    run longer in the server, ``db_lock_ms`` holds the venue's row locked in each confirm, ``round_trips`` is
    the number of sequential database calls of a booking request.

    The platform's own weaknesses: ``restaurant_row_lock`` (ms a confirm works while it shares the venue's row
    which it then updates; ``true`` is 60), ``dup_guest_demotes``, ``racy_idempotency``.

    The queue: ``queue_workers`` jobs run at once, each job becomes due ``queue_delay_ms`` late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_cpu_ms: float = Field(0, ge=0)
    api_delay_ms: float = Field(0, ge=0)
    api_workers: int = Field(0, ge=0)
    allocator_cpu_ms: float = Field(0, ge=0)
    allocator_serial: bool = False
    db_rtt_ms: float = Field(0, ge=0)
    db_pool_size: int = Field(0, ge=0)
    db_max_connections: int = Field(0, ge=0)
    db_slow_query_ms: float = Field(0, ge=0)
    db_lock_ms: float = Field(0, ge=0)
    round_trips: int = Field(0, ge=0)
    restaurant_row_lock: float = Field(0, ge=0)
    dup_guest_demotes: bool = False
    racy_idempotency: bool = False
    queue_workers: int = Field(0, ge=0)
    queue_delay_ms: float = Field(0, ge=0)
    inline_timeout_ms: float | None = Field(None, ge=0)
    rate_limit_per_min: int = Field(0, ge=0)

    @field_validator("restaurant_row_lock", mode="before")
    @classmethod
    def _switch_to_ms(cls, value: object) -> object:
        return ROW_LOCK_HELD_MS * value if isinstance(value, bool) else value

    def planted(self) -> dict[str, float | bool]:
        """Only what differs from the default."""
        return self.model_dump(exclude_defaults=True)


def burn_cpu(milliseconds: float) -> None:
    """Spend that much processor time in this thread; hashing large blocks releases the GIL, as native work does."""
    until = time.thread_time() + milliseconds / 1000
    while time.thread_time() < until:
        hashlib.sha256(_BLOCK).digest()
