"""What must never be true of a booking database: each rule is one SELECT giving a text for every violation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from slotfill.database.schema import CONTRACT, Reference, Schema


@dataclass(frozen=True)
class Query:
    """SQL giving one text a violation; ``blind`` where it cannot see all it should, ``remark`` says what."""

    sql: str
    remark: str = ""
    blind: bool = False


@dataclass(frozen=True)
class Rule:
    """A check by name; ``query`` builds its SQL for the columns that are there."""

    name: str
    needs: Mapping[str, str]
    """Table → columns, space-separated, without which the rule cannot be checked."""
    query: Callable[[Schema], Query]


# A sweep in order of beginnings, by sorting: no row is compared with more than one other. One owner's spans on a table
# are merged first, so that whoever begins before all earlier ones have ended overlaps somebody else: the one that ends
# last. An end that belongs to its span is a microsecond later.
_OVERLAPS = """
WITH held AS ({rows}),
merged AS (
    SELECT table_id, owner, unnest(range_agg(span)) AS span FROM held
    WHERE span IS NOT NULL AND NOT isempty(span) AND table_id IS NOT NULL GROUP BY table_id, owner),
edges AS (
    SELECT table_id, owner, row_number() OVER turn AS number,
        coalesce(lower(span), '-infinity') + CASE WHEN lower_inc(span) THEN '0' ELSE '1 us' END::interval AS begins,
        coalesce(upper(span), 'infinity') + CASE WHEN upper_inc(span) THEN '1 us' ELSE '0' END::interval AS ends
    FROM merged WINDOW turn AS (ORDER BY table_id, lower(span) NULLS FIRST, upper(span), owner)),
swept AS (
    SELECT *, max(ends) OVER (PARTITION BY table_id ORDER BY number
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS busy_until FROM edges)
SELECT DISTINCT format('table %s: {noun} %s overlaps {noun} %s', later.table_id, later.owner, min(earlier.owner))
FROM swept AS later
JOIN edges AS earlier ON earlier.table_id = later.table_id AND earlier.ends = later.busy_until
WHERE later.begins < later.busy_until AND earlier.number < later.number
GROUP BY later.table_id, later.owner, later.number"""

_ASSIGNED_SPANS = """
SELECT table_id, booking_id::text AS owner, span
FROM booking_table_assignments CROSS JOIN LATERAL unnest(ARRAY[{spans}]) AS span"""

_HELD_SPANS = """
SELECT w.table_id, w.hold_id::text AS owner, w.hold_window AS span
FROM table_hold_windows w JOIN table_holds h ON h.id = w.hold_id WHERE h.expires_at > now()"""

_CAPACITY = """
SELECT format('booking %s: a party of %s on %s seats', b.id, b.party_size, given.seats)
FROM bookings b JOIN (
    SELECT pair.booking_id, sum(t.capacity) AS seats
    FROM (SELECT DISTINCT booking_id, table_id FROM booking_table_assignments) AS pair
    JOIN table_inventory t ON t.id = pair.table_id GROUP BY pair.booking_id) AS given ON given.booking_id = b.id
WHERE b.party_size > given.seats"""

_DUPLICATES = """
SELECT format('booking %s has table %s %s times', booking_id, table_id, count(*))
FROM booking_table_assignments GROUP BY booking_id, table_id HAVING count(*) > 1"""

_EMPTY = """
SELECT format('assignment of table %s to booking %s has no window', table_id, booking_id)
FROM booking_table_assignments WHERE {wrong}"""

_WITHOUT_TABLE = """
SELECT format('booking %s is confirmed without a table', b.id) FROM bookings b
WHERE b.status::text = 'confirmed' AND {of_the_run}
  AND (CAST(:since AS timestamptz) IS NULL OR b.created_at >= :since)
  AND (CAST(:booking_ids AS text[]) IS NULL OR b.id::text = ANY(:booking_ids))
  AND NOT EXISTS (SELECT FROM booking_table_assignments a WHERE a.booking_id = b.id)"""

_LEFT_HOLD = """
SELECT format('hold %s lives on, its booking %s is %s', h.id, b.id, b.status)
FROM table_holds h JOIN bookings b ON b.id = h.booking_id
WHERE h.expires_at > now() AND (b.status::text NOT IN ('pending', 'pending_allocation') {or_job_ended})"""

_JOB_ENDED = """OR EXISTS (
    SELECT FROM observability_events e WHERE e.booking_id = b.id AND e.source = 'auto_assign'
    AND e.event_type = 'auto_assign.summary' AND e.created_at > h.created_at)"""

_INCONSISTENT = """
SELECT format('booking %s (%s): %s', id, status, said)
FROM (SELECT id, status, concat_ws('; ', {said}) AS said FROM bookings) AS b WHERE said <> ''"""

_ORPHANS = """
SELECT format('{name}: no row for %s', {keys}) FROM {child} AS child
WHERE {known} AND NOT EXISTS (SELECT FROM {parent} AS parent WHERE {equal})"""

# Columns, when a booking breaks the rule, and what to say of it.
_NOT_ARRIVED = "('pending', 'pending_allocation', 'confirmed', 'cancelled', 'no_show')"
_LIFECYCLE = (
    ("created_at updated_at", "updated_at < created_at", "updated before it was created"),
    ("start_at end_at", "end_at <= start_at", "ends before it starts"),
    ("checked_in_at", "status::text IN ('checked_in', 'completed') AND checked_in_at IS NULL", "no check-in time"),
    ("checked_out_at", "status::text = 'completed' AND checked_out_at IS NULL", "completed without check-out time"),
    ("checked_in_at", f"status::text IN {_NOT_ARRIVED} AND checked_in_at IS NOT NULL", "check-in time too early"),
    ("checked_out_at", "status::text <> 'completed' AND checked_out_at IS NOT NULL", "check-out time too early"),
    ("checked_in_at checked_out_at", "checked_out_at < checked_in_at", "checked out before it was checked in"),
    ("cancelled_at", "status::text = 'cancelled' AND cancelled_at IS NULL", "cancelled without its time"),
    (
        "cancelled_at",
        "status::text <> 'cancelled' AND cancelled_at IS NOT NULL",
        "cancellation time, not cancelled",
    ),
)


def _overlapping_assignments(schema: Schema) -> Query:
    # Either telling of the window may be the one that is wrong.
    spans = ["CASE WHEN start_at < end_at THEN tstzrange(start_at, end_at) END"]
    if "assignment_window" in schema.tables["booking_table_assignments"].c:
        spans.append(f"CASE WHEN assignment_window IS DISTINCT FROM {spans[0]} THEN assignment_window END")
    rows = _ASSIGNED_SPANS.format(spans=", ".join(spans))
    return Query(_OVERLAPS.format(rows=rows, noun="booking"))


def _empty_windows(schema: Schema) -> Query:
    wrong = ["start_at IS NULL", "end_at IS NULL", "end_at <= start_at"]
    if "assignment_window" in schema.tables["booking_table_assignments"].c:
        wrong += ["assignment_window IS NULL", "isempty(assignment_window)"]
    return Query(_EMPTY.format(wrong=" OR ".join(wrong)))


def _confirmed_without_table(schema: Schema) -> Query:
    if "source" in schema.tables["bookings"].c:
        return Query(_WITHOUT_TABLE.format(of_the_run="b.source::text = 'api'"))
    return Query(_WITHOUT_TABLE.format(of_the_run="true"), "bookings have no source: those of others are counted too")


def _left_holds(schema: Schema) -> Query:
    seen = schema.missing("observability_events", ("source", "event_type", "booking_id", "created_at")) is None
    seen = seen and "created_at" in schema.tables["table_holds"].c and "observability_events" not in schema.hidden
    remark = "" if seen else "the end of a background job is not seen (observability_events): judged by status alone"
    return Query(_LEFT_HOLD.format(or_job_ended=_JOB_ENDED if seen else ""), remark)


def _lifecycle(schema: Schema) -> Query:
    columns = schema.tables["bookings"].c
    known = [rule for rule in _LIFECYCLE if all(name in columns for name in rule[0].split())]
    absent = sorted({name for needs, *_ in _LIFECYCLE for name in needs.split() if name not in columns})
    said = ", ".join(f"CASE WHEN {broken} THEN '{text}' END" for _, broken, text in known)
    remark = f"bookings have no {', '.join(absent)}" if absent else ""
    return Query(_INCONSISTENT.format(said=said), remark)


def _foreign_keys(schema: Schema) -> Query:
    """Anti-joins, because a constraint that is not valid, or was switched off for a while, hides orphans."""
    meant = [link for link in schema.references if link.declared or _is_core(link)]
    blind = sorted({t for link in meant for t in (link.child.fullname, link.parent.fullname) if t in schema.hidden})
    seen = [link for link in meant if not {link.child.fullname, link.parent.fullname} & set(blind)]
    remark = "; ".join(f"{schema.hidden[table]} {table}" for table in blind)
    return Query(" UNION ALL ".join(map(_orphans, seen)), remark, blind=bool(blind))


def _is_core(link: Reference) -> bool:
    # Events may outlive their booking on purpose, so only a declared key binds them.
    return link.child.name in CONTRACT and link.child.name != "observability_events"


def _orphans(link: Reference) -> str:
    columns = [f"child.{_quoted(column.name)}" for column in link.columns]
    keys = [f"parent.{_quoted(column.name)}" for column in link.parent_columns]
    return _ORPHANS.format(
        name=str(link).replace("'", "''").replace("%", "%%"),
        keys=f"concat_ws(', ', {', '.join(columns)})",
        child=_qualified(link.child.schema, link.child.name),
        parent=_qualified(link.parent.schema, link.parent.name),
        known=" AND ".join(f"{column} IS NOT NULL" for column in columns),
        equal=" AND ".join(f"{key} = {column}" for key, column in zip(keys, columns, strict=True)),
    )


def _qualified(schema: str | None, name: str) -> str:
    return f"{_quoted(schema)}.{_quoted(name)}" if schema else _quoted(name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_ASSIGNED = "booking_id table_id"
RULES = (
    Rule(
        "overlapping_assignments",
        {"booking_table_assignments": "booking_id table_id start_at end_at"},
        _overlapping_assignments,
    ),
    Rule(
        "party_above_capacity",
        {"bookings": "id party_size", "booking_table_assignments": _ASSIGNED, "table_inventory": "id capacity"},
        lambda schema: Query(_CAPACITY),
    ),
    Rule("duplicate_pair", {"booking_table_assignments": _ASSIGNED}, lambda schema: Query(_DUPLICATES)),
    Rule(
        "confirmed_without_table",
        {"bookings": "id status created_at", "booking_table_assignments": "booking_id"},
        _confirmed_without_table,
    ),
    Rule("empty_window", {"booking_table_assignments": "booking_id table_id start_at end_at"}, _empty_windows),
    Rule(
        "overlapping_holds",
        {"table_holds": "id expires_at", "table_hold_windows": "hold_id table_id hold_window"},
        lambda schema: Query(_OVERLAPS.format(rows=_HELD_SPANS, noun="hold")),
    ),
    Rule("hold_left_behind", {"table_holds": "id booking_id expires_at", "bookings": "id status"}, _left_holds),
    Rule("lifecycle_timestamps", {"bookings": "id status created_at updated_at start_at end_at"}, _lifecycle),
    Rule("foreign_keys", {"restaurants": "id", "bookings": "id"}, _foreign_keys),
)
