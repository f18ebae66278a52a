"""A lock is proven by both statements and the table: from samples, and from Postgres' own log."""

import pandas as pd
import pytest

from slotfill.analyse import study
from slotfill.analyse.locks import LockWait, lock_waits, statement_name
from slotfill.analyse.utilisation import utilisation
from slotfill.report import findings

POSTGREST_CALL = (
    "SELECT count(*), coalesce(json_agg(row_to_json(f)), ?::json)::text FROM json_to_record($1::json) AS "
    '_("p_hold_id" uuid, "p_booking_id" uuid), LATERAL (SELECT "public"."take_tables".* FROM "public"."take_tables"('
    '"p_hold_id" := _."p_hold_id")) AS f'
)


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        (POSTGREST_CALL, "take_tables()"),
        (POSTGREST_CALL[:160], "a function of p_hold_id, p_booking_id"),
        ('WITH src AS (INSERT INTO public."holds" ("id", "table_id") SELECT "id" FROM json_to_r', "INSERT holds"),
        ('WITH pgrst_source AS (SELECT "public"."bookings".* FROM "public"."bookings") SELECT ?', "SELECT bookings"),
        ("SELECT id FROM restaurants WHERE id = $1 FOR  no key update", "SELECT restaurants FOR NO KEY UPDATE"),
        ("UPDATE app.bookings SET status = ?", "UPDATE app.bookings"),
        ("DELETE FROM ONLY holds WHERE id = $1", "DELETE holds"),
        ("select * from public.confirm($1, $2)", "confirm()"),
        ("SELECT pg_advisory_xact_lock($1)", "pg_advisory_xact_lock()"),
        ("COMMIT", "COMMIT"),
    ],
)
def test_a_statement_is_known_by_its_function_or_table(statement, name):
    assert statement_name(statement) == name


def test_the_waits_of_samples_are_counted_and_told(simulate):
    world = simulate({"database": 400}, levels=(1, 4), sessions={"running": 1.0, "lock": 2.0})
    samples = world.samples["concurrency-4"]
    waiting = (samples["wait_event_type"] == "Lock").fillna(False).to_numpy(dtype=bool)
    samples.loc[waiting, "query"] = "SELECT 1 FROM restaurants FOR UPDATE"
    samples.loc[waiting, "blocking_query"] = "UPDATE bookings SET status = ?"
    samples.loc[waiting, "relation"] = "restaurants"
    rows = world.attempts[(world.attempts["label"] == "concurrency-4").to_numpy()]
    [wait] = utilisation(samples, rows).lock_waits
    assert (wait.blocked, wait.blocking, wait.relation) == (
        "SELECT restaurants FOR UPDATE",
        "UPDATE bookings",
        "restaurants",
    )
    assert 0 < wait.samples <= waiting.sum()
    assert str(wait) == 'SELECT restaurants FOR UPDATE waits for "restaurants", held by UPDATE bookings'


def test_samples_of_an_earlier_version_have_no_other_side():
    old = pd.DataFrame({"query": ["COMMIT", None, "COMMIT"]})
    assert lock_waits(old) == (LockWait("COMMIT", None, None, 2),)


def test_the_report_names_function_and_table_of_the_genuine_platforms_deadlocks(corpus):
    near = corpus / "genuine" / "near"
    found = study.of_logs([near], postgres_logs=[near / "postgres-deadlocks.txt"]).document
    told = findings.held(found).replace("\\", "")  # Markdown's escapes
    functions = ["validate_booking_capacity_after_assignment", "assign_tables_atomic_v2"]
    assert '6 deadlocks on rows of "restaurants"' in told and all(name in told for name in functions)
    deadlock = found.finding("deadlock")
    assert deadlock.figures["places"] == [{"relation": "restaurants", "functions": functions, "deadlocks": 6}]
    shown = [item for item in found.evidence if item.source and item.source.file.endswith("postgres-deadlocks.txt")]
    assert shown and all("deadlock detected" in item.excerpt for item in shown)


def test_a_log_of_another_day_says_nothing_of_these_attempts(corpus, tmp_path):
    near = corpus / "genuine" / "near"
    other = tmp_path / "postgresql.log"
    other.write_text((near / "postgres-deadlocks.txt").read_text().replace("2026-11-27", "2026-11-26"))
    found = study.of_logs([near / "concurrency-1"], postgres_logs=[other]).document
    assert "places" not in found.finding("deadlock").figures
