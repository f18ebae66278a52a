"""``slotfill db``: prepare and check the target's database, one thin function a verb."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from slotfill.errors import BadInput, Refused
from slotfill.escape import for_json, for_terminal
from slotfill.options import WithParameters, with_settings

# Each command imports what it needs: help, and a mistake in the command line, need nothing.
if TYPE_CHECKING:
    from sqlalchemy import Engine

    from slotfill.database.guard import Target
    from slotfill.params import Settings


@click.group()
def db() -> None:
    """Prepare and check the target's database.

    Resets and seeds touch nothing but the embedded platform or a database that a person has marked as a test
    target (slotfill db mark); anything else is refused with exit code 4.
    """


JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only show what would be done, and what is in the way.")


@db.command(cls=WithParameters)
@with_settings
@DRY_RUN
@JSON
def reset(settings: "Settings", dry_run: bool, as_json: bool) -> None:
    """Put the venue back to its baseline, and nothing else."""
    from slotfill.database.guard import authorise
    from slotfill.database.reset import plan_reset
    from slotfill.database.reset import reset as reset_venue

    if not dry_run:
        with _database(settings, writes=True) as (engine, target):
            gone = reset_venue(engine, settings.restaurant_slug, target=target)
        _say_rows("deleted", gone, as_json)
        return
    with _database(settings) as (engine, target):
        authorise(engine, target)
        plan = plan_reset(engine, settings.restaurant_slug)
        click.echo(_as_json(plan.as_dict()) if as_json else for_terminal(plan.as_text()))
        if plan.obstacles:
            raise Refused(f"a reset would be refused: {'; '.join(plan.obstacles)}")


@db.command("seed-intelligent", cls=WithParameters)
@with_settings
@JSON
def seed_intelligent(settings: "Settings", as_json: bool) -> None:
    """Put in the venue, its guests and a fortnight of history; the same rows for the same seed."""
    from slotfill.database import seed

    with _database(settings, writes=True) as (engine, target):
        rows = seed.seed_intelligent(engine, settings.seed, settings.restaurant_slug, target=target)
    _say_rows("put in", rows, as_json)


@db.command("seed-today", cls=WithParameters)
@with_settings
@JSON
def seed_today(settings: "Settings", as_json: bool) -> None:
    """Put in a day's bookings, on the date of the parameters; the same rows for the same seed."""
    from datetime import date

    from slotfill.database import seed

    with _database(settings, writes=True) as (engine, target):
        day = date.fromisoformat(settings.date)
        rows = seed.seed_today(engine, day, settings.seed, settings.restaurant_slug, target=target)
    _say_rows("put in", rows, as_json)


@db.command("stress-test", cls=WithParameters)
@with_settings
@JSON
def stress_test(settings: "Settings", as_json: bool) -> int:
    """Check integrity, read-only; exit code 1 where a check is violated or could not look."""
    from slotfill.database.integrity import check

    with _database(settings) as (engine, _):
        report = check(engine)
    click.echo(_as_json(report.as_dict()) if as_json else for_terminal(report.as_text()))
    return 0 if report.passed else 1


@db.command(cls=WithParameters)
@with_settings
def mark(settings: "Settings") -> None:
    """Mark a remote database as a test target; only a person at a terminal can."""
    import getpass

    from slotfill.database.connect import address
    from slotfill.database.guard import mark as write_marker
    from slotfill.database.reset import plan_reset

    if settings.embedded:
        raise BadInput(
            "db mark: the embedded platform needs no marker; name the remote target (see params/remote.yaml)"
        )
    if not sys.stdin.isatty():
        raise Refused("db mark: needs a person at a terminal, and standard input is none; nothing was written")
    with _database(settings) as (engine, _):
        click.echo(f"This lets slotfill reset {settings.restaurant_slug} in {address(engine.url)}, as it is now:")
        click.echo(for_terminal(plan_reset(engine, settings.restaurant_slug).as_text()))
        click.echo("and put in bookings and guests of its own (seeds, and what a run books). Nothing else is touched.")
        name = click.prompt(f"Type the name of the target ({settings.target}) to mark it")
        if name != settings.target:
            raise Refused(f"db mark: {name!r} is not {settings.target!r}; nothing was written")
        write_marker(engine, name, getpass.getuser())
    click.echo(f"marked as {name}")


@contextmanager
def _database(settings: "Settings", *, writes: bool = False) -> "Iterator[tuple[Engine, Target]]":
    """The database of the target, and what the guard needs to know of it.

    A command that ``writes`` has it alone: it would take away what a run books, or put its rows among another's.
    """
    from slotfill.database import connect
    from slotfill.database.alone import alone
    from slotfill.database.guard import authorise
    from slotfill.drive.target import HOME, open_platform

    with open_platform(settings, HOME) as platform:
        engine = connect.engine(platform.database_url)
        try:
            if writes:
                authorise(engine, platform.target)
            with alone(platform.database_url) if writes else nullcontext():
                yield engine, platform.target
        finally:
            engine.dispose()


def _say_rows(verb: str, rows: Mapping[str, int], as_json: bool) -> None:
    if as_json:
        click.echo(_as_json(rows))
        return
    for table, count in rows.items():
        click.echo(f"{count:6d}  {table}")
    click.echo(f"{sum(rows.values()):6d}  rows {verb}")


def _as_json(content: Any) -> str:
    import json

    return for_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
