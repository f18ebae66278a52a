import pytest
from sqlalchemy import make_url

from slotfill.database import connect, guard
from slotfill.database.guard import Target
from slotfill.database.reset import checksum, reset
from slotfill.database.seed import seed_intelligent, seed_today
from slotfill.drive.target import LAYOUT, open_platform
from slotfill.errors import BadInput, Refused
from slotfill.params import Settings

STAGING = Target("staging")


@pytest.fixture
def watched(seeded, server):
    """A seeded database that logs the statements Postgres itself counts as changing something, and these statements."""
    server.execute(f"ALTER DATABASE {seeded.url.database} SET log_statement = 'mod'")
    seeded.dispose()
    return seeded, lambda: server.statements(seeded.url.database)


def actions(day):
    return {
        "reset": lambda database, target: reset(database, target=target),
        "seed-intelligent": lambda database, target: seed_intelligent(database, 1, target=target),
        "seed-today": lambda database, target: seed_today(database, day, 1, target=target),
    }


@pytest.mark.parametrize("name", ["reset", "seed-intelligent", "seed-today"])
def test_unmarked_database_is_refused_and_nothing_is_written(watched, day, name):
    database, changing = watched
    before = checksum(database)
    with pytest.raises(Refused, match="no marker"):
        actions(day)[name](database, STAGING)
    assert changing() == []
    assert checksum(database) == before


def test_the_statement_log_would_show_a_write(watched):
    database, changing = watched
    guard.mark(database, "staging", "a tester")
    marked = len(changing())
    reset(database, target=STAGING)
    assert len(changing()) > marked > 0


def test_wrong_marker_is_refused_and_nothing_is_written(watched, server):
    database, changing = watched
    guard.mark(database, "playground", "a tester")
    before, marked = checksum(database), len(changing())
    with pytest.raises(Refused, match=r"'playground'.*'staging'"):
        reset(database, target=STAGING)
    assert len(changing()) == marked
    assert checksum(database) == before


def test_marked_database_is_reset_and_the_marker_survives(seeded, fetch):
    made = guard.mark(seeded, "staging", "a tester")
    reset(seeded, target=STAGING)
    with connect.reading(seeded) as connection:
        assert guard.markers(connection) == {made.project: made}
    assert fetch(seeded, "SELECT count(*) FROM bookings") == [(0,)]


def test_copy_of_a_marked_database_is_refused(seeded, new_database, connected):
    guard.mark(seeded, "staging", "a tester")
    seeded.dispose()
    copy = connected(new_database(seeded.url.database))
    with pytest.raises(Refused, match="copy"):
        reset(copy, target=STAGING)


def test_marker_holds_however_the_server_is_named(seeded, connected):
    guard.mark(seeded, "staging", "a tester")
    alias = connected(seeded.url.set(host="localhost").render_as_string(hide_password=False))
    guard.authorise(alias, STAGING)


def test_role_that_may_not_change_the_tables_is_refused(seeded, server, execute, connected):
    guard.mark(seeded, "staging", "a tester")
    execute(
        seeded,
        "CREATE ROLE onlooker LOGIN PASSWORD 'look'",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO onlooker",
    )
    onlooker = connected(server.url(seeded.url.database, "onlooker", "look"))
    with pytest.raises(Refused, match=r"onlooker may not change .*bookings"):
        reset(onlooker, target=STAGING)
    execute(seeded, "DROP OWNED BY onlooker", "DROP ROLE onlooker")


def test_database_set_to_read_only_is_refused(seeded, server):
    guard.mark(seeded, "staging", "a tester")
    server.execute(f"ALTER DATABASE {seeded.url.database} SET default_transaction_read_only = on")
    seeded.dispose()
    with pytest.raises(Refused, match="takes no writes"):
        reset(seeded, target=STAGING)


@pytest.fixture
def somebodys(new_database, connected, execute):
    """A database with the contract's tables that the embedded platform did not lay out, and a booking's venue in it."""
    database = connected(new_database(None))
    execute(
        database,
        "CREATE TABLE restaurants (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), slug text, timezone text)",
        "CREATE TABLE bookings (id uuid, restaurant_id uuid REFERENCES restaurants, idempotency_key text)",
        "INSERT INTO restaurants (slug) VALUES ('white-horse-pub-waterbeach')",
        "INSERT INTO bookings SELECT gen_random_uuid(), id FROM restaurants",
    )
    return database


def test_embedded_does_not_make_somebodys_own_local_database_fair_game(somebodys, fetch):
    with pytest.raises(Refused, match="did not lay this database out"):
        reset(somebodys, target=Target("embedded", LAYOUT))
    assert fetch(somebodys, "SELECT count(*) FROM bookings") == [(1,)]


def test_the_embedded_platform_moves_only_into_an_empty_database_or_back_into_its_own(
    somebodys, new_database, connected, template
):
    guard.admit(connected(new_database(None)), LAYOUT)
    guard.admit(connected(new_database(template)), LAYOUT)
    with pytest.raises(Refused, match=r"not the embedded platform's \(bookings, restaurants\)"):
        guard.admit(somebodys, LAYOUT)


def test_the_embedded_platform_is_not_started_over_somebody_elses_database(somebodys, fetch, monkeypatch, tmp_path):
    tables = "SELECT schemaname, relname, n_tup_ins FROM pg_stat_user_tables ORDER BY 1, 2"
    before = fetch(somebodys, tables)
    monkeypatch.setenv("DATABASE_URL", somebodys.url.render_as_string(hide_password=False))
    with pytest.raises(Refused, match="not the embedded platform's"), open_platform(Settings(), tmp_path / "home"):
        pass
    assert fetch(somebodys, tables) == before
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["production", "live_bookings"])
def test_the_embedded_platform_keeps_away_from_what_looks_like_production(seeded, name):
    url = make_url(f"postgresql://u@db.example.com/{name}")
    with connect.reading(seeded) as connection:
        reason = guard.reason_to_refuse(connection, url, Target("embedded", LAYOUT))
    assert reason is not None and "PRODUCTION" in reason and name in reason


def test_production_looking_database_gets_its_own_words(seeded, monkeypatch):
    with connect.reading(seeded) as connection:
        reason = guard.reason_to_refuse(connection, make_url("postgresql://u@prod-db.example.com/app"), STAGING)
    assert "PRODUCTION" in reason
    assert "prod-db.example.com" in reason


@pytest.mark.parametrize(
    ("url", "sign"),
    [
        ("postgresql://u@db.abcdef.supabase.co:5432/postgres", "db.abcdef.supabase.co"),
        ("postgresql://u@prod-db.example.com/app", "prod-db.example.com"),
        ("postgresql://u@10.0.0.7/booking_production", "booking_production"),
        ("postgresql://u@products.example.com/app", None),
        ("postgresql://u@127.0.0.1/production", None),
        ("postgresql:///production?host=/run/postgresql", None),
    ],
)
def test_production_is_told_by_host_database_and_user(url, sign):
    assert guard.production_sign(make_url(url)) == sign


@pytest.mark.parametrize("name", ["", "embedded", "two words", "x" * 64])
def test_marker_needs_a_proper_name(seeded, name):
    with pytest.raises(BadInput):
        guard.mark(seeded, name, "a tester")


def test_marking_again_renames(seeded):
    guard.mark(seeded, "playground", "a tester")
    guard.mark(seeded, "staging", "a tester")
    guard.authorise(seeded, STAGING)
