"""Databases that must not be written to: each is tried with every command that writes, and compared row by row after it.

An address that leads somewhere else in the real world leads to the test's own server here: only the name is looked at.
"""  # noqa: E501

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from slotfill.database import guard
from slotfill.database.connect import keywords
from slotfill.database.guard import Target
from slotfill.database.reset import reset
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.database.url import parse_url
from slotfill.drive.target import LAYOUT
from slotfill.errors import SlotfillError

MARKED, UNMARKED = True, False
OTHER = "the-other-pub"


@dataclass(frozen=True)
class Case:
    """What is done to a seeded database, how it is reached, and what a person is told."""

    told: str
    marked: bool = MARKED
    statements: tuple[str, ...] = ()
    known_as: str | None = None
    """The URL's host and database, where it looks like another's."""
    role: tuple[str, ...] | None = None
    """Statements that make the role ``onlooker``, by whom it is reached then."""
    target: Target = Target("staging")  # noqa: RUF009
    seeds_too: bool = True


MARKER = "INSERT INTO slotfill.target_marker SELECT 'staging', {}, 'a forger', now() FROM pg_database LIMIT 1"
FORGED = ("DELETE FROM slotfill.target_marker", MARKER)
ANALYTICS = "CREATE SCHEMA analytics", "CREATE TABLE analytics.fact (booking_id uuid REFERENCES public.bookings{})"
FACTS = "INSERT INTO analytics.fact SELECT id FROM bookings LIMIT 3"
ALL = "GRANT ALL ON ALL TABLES IN SCHEMA public TO onlooker", "GRANT USAGE ON SCHEMA slotfill TO onlooker"
REVIEWS = "CREATE TABLE reviews (id int, booking_id uuid REFERENCES bookings ON DELETE CASCADE)"

CASES = {
    "unmarked": Case("no marker", UNMARKED),
    "unmarked, with an empty marker table": Case("no marker", MARKED, ("DELETE FROM slotfill.target_marker",)),
    "marked as another target": Case("'staging'.*'acceptance'", target=Target("acceptance")),
    "forged: any project": Case("mark it anew", MARKED, (FORGED[0], MARKER.format("'mine'"))),
    "forged: the name alone": Case("mark it anew", MARKED, (FORGED[0], MARKER.format("current_database()"))),
    "forged: name and number": Case(
        "mark it anew",
        MARKED,
        (FORGED[0], "INSERT INTO slotfill.target_marker SELECT 'staging', datname || '#' || oid, 'a forger', now() "
                    "FROM pg_database WHERE datname = current_database()"),
    ),
    "forged: another database of this server": Case(
        "mark it anew",
        MARKED,
        ("UPDATE slotfill.target_marker SET project = regexp_replace(project, '#\\d+', '#1')",),
    ),
    "forged: a table of another form": Case(
        "project", UNMARKED, ("CREATE SCHEMA slotfill", "CREATE TABLE slotfill.target_marker (name text)")
    ),
    "a copy of the files at another port": Case(
        "mark it anew", MARKED, ("UPDATE slotfill.target_marker SET project = replace(project, ':', ':1')",)
    ),
    "a copy of the files on another machine": Case(
        "mark it anew", MARKED, ("UPDATE slotfill.target_marker SET project = replace(project, 'local:', '10.0.0.7:')",)
    ),
    "marked here, reached by another name": Case("mark it anew", known_as="staging-db.example.com/app"),
    "production by its host": Case("PRODUCTION", known_as="prod-db.example.com/app"),
    "production by its database": Case("PRODUCTION", known_as="db.example.com/bookings_production"),
    "production by an option": Case("PRODUCTION", known_as="localhost/app?host=live.example.com"),
    "production among several": Case("PRODUCTION", known_as="staging.example.com,db-primary.example.com/app"),
    "production behind a local name": Case("PRODUCTION", known_as="localhost/live?hostaddr=203.0.113.7"),
    "production, unmarked": Case("PRODUCTION", UNMARKED, known_as="master.example.com/app"),
    "production, by the embedded platform": Case(
        "PRODUCTION", UNMARKED, known_as="prod.example.com/app", target=Target("embedded", LAYOUT)
    ),
    "a managed server, unmarked": Case("PRODUCTION", UNMARKED, known_as="db.abcdef.supabase.co/postgres"),
    "a managed server, marked elsewhere": Case("mark it anew", known_as="db.abcdef.supabase.co/postgres"),
    "not laid out by the embedded platform": Case(
        "did not lay this database out", UNMARKED,
        ("ALTER TYPE table_occupancy RENAME TO somebodys",), target=Target("embedded", LAYOUT),
    ),
    "read only": Case("takes no writes", statements=("ALTER DATABASE {database} SET default_transaction_read_only = on",)),  # noqa: E501
    "a role without rights": Case(
        "may not change", role=("GRANT SELECT ON ALL TABLES IN SCHEMA public TO onlooker",)
    ),
    "hidden: bookings": Case(
        "hides rows of bookings", statements=("ALTER TABLE bookings ENABLE ROW LEVEL SECURITY",), role=ALL,
        seeds_too=False,
    ),
    "hidden: a table that hangs from them": Case(
        "hides rows of reviews", statements=(REVIEWS, "ALTER TABLE reviews ENABLE ROW LEVEL SECURITY"), role=ALL,
        seeds_too=False,
    ),
    "unreadable: a table that hangs from them": Case(
        "may not read reviews", statements=(REVIEWS,), role=(*ALL, "REVOKE SELECT ON reviews FROM onlooker"),
        seeds_too=False,
    ),
    "another schema, cascading": Case(
        "3 rows of analytics.fact",
        statements=(ANALYTICS[0], ANALYTICS[1].format(" ON DELETE CASCADE"), FACTS), seeds_too=False,
    ),
    "another schema, in the way": Case(
        "3 rows of analytics.fact", statements=(ANALYTICS[0], ANALYTICS[1].format(""), FACTS), seeds_too=False
    ),
    "another schema, unreadable": Case(
        "may not read it", statements=(ANALYTICS[0], ANALYTICS[1].format(" ON DELETE CASCADE"), FACTS), role=ALL,
        seeds_too=False,
    ),
    "a rule that goes further": Case(
        "bookings has the rule forget",
        statements=(
            "CREATE SCHEMA analytics", "CREATE TABLE analytics.fact AS SELECT id FROM bookings",
            "CREATE RULE forget AS ON DELETE TO bookings DO ALSO DELETE FROM analytics.fact WHERE id = old.id",
        ),
        seeds_too=False,
    ),
    "a rule that does nothing": Case(
        "customers has the rule keep",
        statements=("CREATE RULE keep AS ON DELETE TO customers DO INSTEAD NOTHING",), seeds_too=False,
    ),
    "an archive that inherits": Case(
        "may lie in archive.bookings_2025",
        statements=(
            "CREATE SCHEMA archive", "CREATE TABLE archive.bookings_2025 () INHERITS (public.bookings)",
            "INSERT INTO archive.bookings_2025 SELECT * FROM bookings LIMIT 5",
        ),
        seeds_too=False,
    ),
    "another schema, set to nothing": Case(
        "3 rows of analytics.fact",
        statements=(ANALYTICS[0], ANALYTICS[1].format(" ON DELETE SET NULL"), FACTS), seeds_too=False,
    ),
    "another schema, below another": Case(
        "2 rows of analytics.fact",
        statements=(
            "CREATE SCHEMA analytics",
            "CREATE TABLE analytics.fact (hold_id uuid REFERENCES public.table_holds ON DELETE CASCADE)",
            "INSERT INTO table_holds (restaurant_id, booking_id, start_at, end_at, expires_at) "
            "SELECT restaurant_id, id, start_at, end_at, end_at FROM bookings LIMIT 1",
            "INSERT INTO analytics.fact SELECT id FROM table_holds, generate_series(1, 2) LIMIT 2",
        ),
        seeds_too=False,
    ),
    "shared with another venue": Case(
        "to another one",
        statements=(
            f"INSERT INTO restaurants (slug, name) VALUES ('{OTHER}', 'Other')",  # noqa: S608
            f"UPDATE bookings SET restaurant_id = (SELECT id FROM restaurants WHERE slug = '{OTHER}') "  # noqa: S608
            "WHERE id = (SELECT id FROM bookings LIMIT 1)",
        ),
        seeds_too=False,
    ),
    "no venues": Case("no restaurants", statements=("ALTER TABLE restaurants RENAME TO venues",), seeds_too=False),
}  # fmt: skip


def test_the_table_is_long_enough():
    assert len(CASES) >= 25


@pytest.mark.parametrize("name", CASES)
def test_it_is_not_written_to(name, seeded, server, execute, connected, day, every_table):
    case = CASES[name]
    if case.marked:
        guard.mark(seeded, "staging", "a tester")
    execute(seeded, *(statement.format(database=seeded.url.database) for statement in case.statements))
    if case.role:
        execute(seeded, "CREATE ROLE onlooker LOGIN PASSWORD 'look'", *case.role)
    url = server.url(seeded.url.database, "onlooker", "look") if case.role else server.url(seeded.url.database)
    database = _known_as(case.known_as, url) if case.known_as else connected(url)
    before = every_table(server.url(seeded.url.database))
    assert before["public.bookings"][0] > 100
    try:
        for attempt in _writes(day) if case.seeds_too else _writes(day)[:1]:
            with pytest.raises(SlotfillError, match=case.told) as caught:
                attempt(database, case.target)
            assert "\n" not in str(caught.value)
            assert every_table(server.url(seeded.url.database)) == before
    finally:
        database.dispose()
        if case.role:
            server.execute("DROP OWNED BY onlooker", seeded.url.database)
            server.execute("DROP ROLE onlooker")


def test_the_comparison_would_see_a_write(seeded, server, every_table):
    before = every_table(server.url(seeded.url.database))
    guard.mark(seeded, "staging", "a tester")
    after = every_table(server.url(seeded.url.database))
    assert set(after) - set(before) == {"slotfill.target_marker"}
    reset(seeded, target=Target("staging"))
    assert every_table(server.url(seeded.url.database))["public.bookings"] != after["public.bookings"]


def _writes(day: Any) -> list[Callable[[sa.Engine, Target], Any]]:
    return [
        lambda database, target: reset(database, target=target),
        lambda database, target: seed_intelligent(database, 1, target=target),
        lambda database, target: seed_today(database, day, 1, target=target),
    ]


def _known_as(name: str, url: str) -> sa.Engine:
    """The database of a URL under the name of another."""
    known = parse_url(f"postgresql://runner@{name}")
    return sa.create_engine(known, creator=lambda: psycopg.connect(**keywords(parse_url(url))))
