"""Looking bookings up."""

from collections import defaultdict
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Engine

from slotfill.database.connect import reading

_BY_KEYS = """
SELECT idempotency_key, id::text FROM bookings WHERE idempotency_key = ANY(:keys) ORDER BY created_at, id"""


def bookings_by_keys(database: Engine, keys: Iterable[str]) -> dict[str, list[str]]:
    """The ids of the bookings that carry each idempotency key; keys without one are left out.

    More than one id for a key means that the platform booked it twice. Raises Unreachable, BadInput.
    """
    found: dict[str, list[str]] = defaultdict(list)
    with reading(database) as connection:
        for key, booking_id in connection.execute(sa.text(_BY_KEYS), {"keys": list(keys)}):
            found[key].append(booking_id)
    return dict(found)
