"""The command line: one thin function a verb; those of ``slotfill db`` stand in ``cli_db``."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from slotfill import process
from slotfill.cli_db import db
from slotfill.errors import BadInput
from slotfill.escape import for_terminal
from slotfill.options import WithParameters, with_settings

# Each command imports what it needs: help, and a mistake in the command line, need nothing.
if TYPE_CHECKING:
    from slotfill.params import Settings


def main() -> None:
    """Run the command line; every error is one line and an exit code, never a traceback."""
    process.run(_command)


def _command() -> Any:
    try:
        return cli(standalone_mode=False)
    except SystemExit as ended:
        if ended.code:  # click's way out where nobody reads our output any more, with the code of a threshold
            raise BrokenPipeError from ended
        raise


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="slotfill")
def cli() -> None:
    """Drive a booking flow across a grid of time slots and name its slowest hop, with proof.

    Exit codes: 0 done, 1 a threshold is broken or nothing was confirmed, 2 bad input, 3 stopped by a brake,
    4 target refused by a guard, 5 target unreachable, 70 a fault of slotfill's own, 130 Ctrl+C.

    Shell completion: eval "$(_SLOTFILL_COMPLETE=bash_source slotfill)" (or zsh_source, fish_source).
    """


OUT = click.option("--out", type=click.Path(path_type=Path), help="The folder to write; it must be new or empty.")
JUNIT = click.option(
    "--junit", type=click.Path(path_type=Path), help="Also write thresholds and integrity as JUnit XML, for CI."
)
SERVER_LOGS = click.option(
    "--server-log", "server_logs", multiple=True, type=click.Path(path_type=Path), help="A Next.js server log."
)
POSTGRES_LOGS = click.option(
    "--postgres-log", "postgres_logs", multiple=True, type=click.Path(path_type=Path), help="Postgres' own log."
)
PATHS = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))


@cli.command(cls=WithParameters)
@with_settings
@OUT
@click.option("--prove", "proving", is_flag=True, help="Test the verdict afterwards, as slotfill prove does.")
@JUNIT
def run(settings: "Settings", out: Path | None, proving: bool, junit: Path | None) -> int:
    """Prepare the database, fill the slots at every level, analyse, and write the report.

    The last line printed is the run folder.

    \b
    Examples:
      slotfill run -f params/smoke.yaml
      slotfill run --set concurrency=[1,4] --set stress_max=5 --out /tmp/first
      slotfill run -f params/remote.yaml --set target=staging --junit slotfill.xml
    """
    from slotfill import pipeline

    return pipeline.run(settings, out, click.echo, proving, junit)


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@JUNIT
def resume(folder: Path, junit: Path | None) -> int:
    """Continue a run that stopped or crashed."""
    from slotfill import pipeline

    return pipeline.resume(folder, click.echo, junit)


@cli.command()
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
def prove(folder: Path) -> int:
    """Test a run's verdict: drive again with and without a known delay at a border of the platform.

    Writes proof.json and the report again; the verdict is then confirmed, refuted, or stays asserted with the reason.
    """
    from slotfill import pipeline

    return pipeline.prove(folder, click.echo)


@cli.command()
@PATHS
@SERVER_LOGS
@POSTGRES_LOGS
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
def logs(
    paths: Sequence[Path],
    server_logs: Sequence[Path],
    postgres_logs: Sequence[Path],
    form: Literal["table", "json", "csv"],
) -> None:
    """Attempts and metrics from any logs: files or folders, of this runner or of the platform's own."""
    process.make_short_lived()
    from slotfill.analyse.metrics import metrics, platform_table, render
    from slotfill.read import read_logs
    from slotfill.report import terminal

    reading = read_logs(paths, server_logs)
    locked = [line for file in postgres_logs for line in _locked(file)]
    figures = metrics(reading.attempts)
    if form == "table":
        click.echo(terminal.platform_table(platform_table(reading.attempts), figures["levels"]))
    else:
        for piece in render(figures, reading.attempts, form):
            click.echo(piece, nl=False)
    died = [f"{run.file}:{run.line}: no attempt was made: {run.reason}" for run in reading.runs.itertuples()]
    for note in (*reading.notes, *died, *locked):
        click.echo(f"slotfill: {for_terminal(note)}", err=True)


def _locked(postgres_log: Path) -> Iterator[str]:
    from slotfill.read.postgres_log import lock_events, summary

    for line in summary(lock_events(postgres_log)) or ["no deadlock"]:
        yield f"{postgres_log}: {line}"


@cli.command()
@PATHS
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def spans(paths: Sequence[Path], form: Literal["table", "json"]) -> None:
    """Requests and the calls they made, from OpenTelemetry spans: OTLP bodies (.pb, .json, also .gz) or a collector's
    JSON lines.

    A request whose server span is missing is incomplete. Every call counts once; the times and the chain (calls one
    after another, within 1 ms) are of the calls that ask the database, where there are any.
    """
    from slotfill.analyse.calls import render, requests_table
    from slotfill.pipeline import say_passed_over
    from slotfill.read.requests import read_requests
    from slotfill.read.spans import read_spans

    reading = read_spans(paths)
    click.echo(render(requests_table(*read_requests(reading.spans)), form))
    say_passed_over(reading.notes)


@cli.command()
@PATHS
@SERVER_LOGS
@POSTGRES_LOGS
@click.option("--otlp", multiple=True, type=click.Path(path_type=Path), help="OpenTelemetry spans others recorded.")
@OUT
def report(
    paths: Sequence[Path],
    server_logs: Sequence[Path],
    postgres_logs: Sequence[Path],
    otlp: Sequence[Path],
    out: Path | None,
) -> int:
    """Write metrics.json, bottleneck.json, report.html and verification.md for a run folder or any logs."""
    from slotfill import pipeline

    return pipeline.report(paths, server_logs, out, click.echo, otlp, postgres_logs)


@cli.command()
@PATHS
@SERVER_LOGS
@OUT
def export(paths: Sequence[Path], server_logs: Sequence[Path], out: Path | None) -> int:
    """Attempts, hops, calls and metrics of a run folder or any logs, for other tools.

    Parquet and CSV with units in their names, and metrics.prom, an OpenMetrics text file. A run's go into its folder
    exports/ unless --out names another; the last line printed is the folder.
    """
    from slotfill import pipeline

    return pipeline.export(paths, server_logs, out, click.echo)


@cli.command()
@click.argument("before", metavar="RUN_A", type=click.Path(path_type=Path))
@click.argument("after", metavar="RUN_B", type=click.Path(path_type=Path))
@OUT
def compare(before: Path, after: Path, out: Path | None) -> None:
    """Before and after, with an interval on each difference; unlike runs are refused.

    Two run folders, or two log files. With --out also as a page, compare.html, and compare.json.
    """
    from slotfill import pipeline

    click.echo(for_terminal(pipeline.compare(before, after, out)))


cli.add_command(db)


@cli.command(cls=WithParameters)
@with_settings
def doctor(settings: "Settings") -> int:
    """What is reachable, which schema, which limits, what is missing."""
    from slotfill.doctor import examine

    return examine(settings, click.echo)


@cli.command(cls=WithParameters)
@with_settings
def serve(settings: "Settings") -> None:
    """Run the embedded platform in the foreground until Ctrl+C."""
    from slotfill.drive.target import serve as serve_platform

    serve_platform(settings, click.echo)


@cli.command()
@click.argument("upstream", metavar="UPSTREAM_URL")
@click.option("--listen", default="127.0.0.1:0", show_default=True, help="Where to listen; port 0 is any that is free.")
@click.option("--delay-ms", type=click.FloatRange(0, 60_000), default=0, help="Hold each call back so long.")
@click.option("--out", type=click.Path(path_type=Path), help="The file of the calls; standard output without it.")
def tap(upstream: str, listen: str, delay_ms: float, out: Path | None) -> None:
    """Forward http:// or postgresql:// to UPSTREAM_URL and record each call as a line of JSON, until Ctrl+C.

    Bytes go on at once. No secret, body, parameter or value of a filter is recorded; TLS and upgrades pass unread.
    """
    from slotfill.address import parse_listen, parse_upstream
    from slotfill.collect.tap import Tap, serve

    if delay_ms != delay_ms:  # NaN is in every range
        raise BadInput("--delay-ms nan: must be a number from 0 to 60000")
    try:
        parse_upstream(upstream)
    except ValueError as error:
        raise BadInput(f"UPSTREAM_URL {error}") from None
    try:
        address = parse_listen(listen)
    except ValueError as error:
        raise BadInput(f"--listen {error}") from None
    border = Tap("tap", upstream, address, delay_ms)
    with ExitStack() as stack:
        try:
            lines = stack.enter_context(out.open("a", encoding="utf-8")) if out else sys.stdout
        except OSError as error:
            raise BadInput(f"--out {out}: {error.strerror}") from None
        try:
            serve(border, lines, lambda text: click.echo(text, err=True))
        except OSError as error:
            if not out:  # standard output has an end of its own: nobody reads any more
                raise
            with suppress(OSError):
                lines.close()
            raise BadInput(f"--out {out}: {error.strerror}") from None
