"""Logs as process managers, containers and platforms hand them on: wrapped, they say what the plain ones say."""

import bz2
import gzip
import json
import lzma
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slotfill.errors import BadInput
from slotfill.read import Reading, read_logs

CASES = (
    *("logrotate-dateext", "next-dev-logfile-text", "next162-request-names", "pino-next-logger", "prefix-compose"),
    *("prefix-pm2", "prefix-turbo", "utf16le-appended"),
)
PLACE = [
    "file",
    "first_line",
    "last_line",
    "summary_line",
    "label",
    "concurrency",
    "profile_line",
    "job_line",
    "quote_line",
]
Wrap = Callable[[list[str]], str]


@pytest.fixture(scope="session")
def cases(corpus: Path) -> Path:
    return corpus.parent / "cases"


@pytest.fixture(scope="session")
def recorded(corpus: Path) -> tuple[list[Path], Reading]:
    """A client's and a server's log, and what they say as they are."""
    near = corpus / "local" / "near"
    logs = [near / "slot-fill-concurrency4.log", near / "next-dev-server-concurrency4.log"]
    return logs, read_logs(logs)


# --- the cases of others


@pytest.mark.parametrize("case", CASES)
def test_a_case_gives_its_right_value(cases: Path, case: str) -> None:
    reading = read_logs([cases / case])
    server = reading.server
    assert list(reading.attempts["outcome"]) == ["confirmed_inline_api"] * 2
    assert server[["quote_ms", "confirm_ms"]].to_numpy().tolist() == [[2000, 1500], [2100, 1550]]
    if case == "next-dev-logfile-text":
        assert server[["handler_ms", "compile_ms"]].isna().all(axis=None)
    else:
        assert server[["handler_ms", "compile_ms"]].to_numpy().tolist() == [[5000, 700], [5200, 4]]
    assert reading.note is None
    assert bool(reading.wrappers) == (case not in ("logrotate-dateext", "next162-request-names", "utf16le-appended"))


# --- wrappers of our own, around recorded logs


def _prefix(form: str, **columns: list[str]) -> Wrap:
    """A prefix on each line; ``{n}`` is the line's number, a column's values take turns."""

    def wrap(lines: list[str]) -> str:
        return "".join(f"{_fill(form, columns, number)}{line}\n" for number, line in enumerate(lines))

    return wrap


def _fill(form: str, columns: dict[str, list[str]], number: int) -> str:
    values = {name: each[number % len(each)] for name, each in columns.items()}
    return form.format(n=number, mm=f"{number // 60 % 60:02}", ss=f"{number % 60:02}", **values)


def _objects(make: Callable[[str], Any], whole_blocks: bool = False, indent: int | None = None) -> Wrap:
    def wrap(lines: list[str]) -> str:
        texts = _blocks(lines) if whole_blocks else iter(lines)
        return "".join(json.dumps(make(text), indent=indent) + "\n" for text in texts)

    return wrap


def _blocks(lines: list[str]) -> Iterator[str]:
    """Each ``console.log`` as one text."""
    block: list[str] = []
    for line in lines:
        block.append(line)
        if (len(block) == 1 and not line.endswith("{")) or line.startswith("}"):
            yield "\n".join(block)
            block = []
    yield from block


def _next_text(lines: list[str]) -> str:
    """Next.js' development log before 16.2: further lines of a message have no prefix; levels are padded."""
    told = enumerate(_blocks(lines))
    return "".join(f"[00:00:{n % 60:02}.371] Server  {('LOG', 'ERROR')[n % 7 == 3]:7} {text}\n" for n, text in told)


def _cri(lines: list[str]) -> str:
    """A container runtime's file: long lines come in parts."""
    out = []
    for number, line in enumerate(lines):
        head = f"2027-02-09T10:00:{number % 60:02}.{number:09}+01:00 stdout"
        out += [f"{head} P {line[:300]}", f"{head} F {line[300:]}"] if len(line) > 400 else [f"{head} F {line}"]
    return "\n".join(out) + "\n"


def _docker_file(lines: list[str]) -> str:
    """Docker's json-file driver: the text ends its line, unless it is a part of one."""
    parts = [part for line in lines for part in ([line[:300], line[300:] + "\n"] if len(line) > 400 else [line + "\n"])]
    return "".join(
        json.dumps({"log": part, "stream": "stdout", "time": "2027-02-09T10:00:00.1Z"}) + "\n" for part in parts
    )


def _journal(text: str) -> dict[str, Any]:
    colours = f"\x1b[32m{text}\x1b[39m"
    return {"__REALTIME_TIMESTAMP": "1801130400000000", "_PID": "12", "MESSAGE": list(colours.encode())}


WRAPPERS: dict[str, Wrap] = {
    "compose v1 in colours": _prefix("\x1b[36mapp_1  |\x1b[0m "),
    "compose, time stamps": _prefix("web-1  | 2027-02-09T10:{mm}:{ss}.{n:09}Z "),
    "docker service": _prefix("stack_web.1.x7kq2m9@node-3    | "),
    "turbo, scoped": _prefix("@acme/web:dev: "),
    "turbo in colours": _prefix("\x1b[35mweb:dev: \x1b[0m"),
    "pm2, time stamps": _prefix("2027-02-09T10:{mm}:{ss}: "),
    "pm2 two instances": _prefix("{i}|next-app  | ", i=["3"]),
    "journalctl short": _prefix("Feb 09 10:{mm}:{ss} web-host next[4711]: "),
    "journalctl short, one digit": _prefix("Feb  9 10:{mm}:{ss} web-host next[4711]: "),
    "journalctl short-iso": _prefix("2027-02-09T10:{mm}:{ss}+0000 web-host npm[812]: "),
    "journalctl short-monotonic": _prefix("[{n:5}.{n:06}] web-host next[4711]: "),
    "kubectl --prefix": _prefix("[pod/next-7d9f8b6c5-x2x9z/next] "),
    "stern": _prefix("next-7d9f8b6c5-x2x9z next "),
    "kubectl --timestamps": _prefix("2027-02-09T10:{mm}:{ss}.{n:06}Z "),
    "container runtime": _cri,
    "heroku": _prefix("2027-02-09T10:{mm}:{ss}.123456+00:00 app[web.1]: "),
    "fly": _prefix("2027-02-09T10:{mm}:{ss}Z app[e784e4ec] lhr [info]"),
    "render": _prefix("Feb 9 10:{mm}:{ss} AM  "),
    "GitHub Actions": _prefix("2027-02-09T10:{mm}:{ss}.{n:07}Z "),
    "gh run view": _prefix("e2e\tRun slot fill\t2027-02-09T10:{mm}:{ss}.{n:07}Z "),
    "Vercel build": _prefix("[10:{mm}:{ss}.123] "),
    "concurrently": _prefix("[0] "),
    "concurrently by name and time": _prefix("[2027-02-09 10:{mm}:{ss}.{n:03} web] "),
    "npm-run-all": _prefix("[dev:web ] "),
    "foreman": _prefix("10:{mm}:{ss} web.1  | "),
    "overmind": _prefix("web     | "),
    "lerna": _prefix("@acme/web: "),
    "pnpm": _prefix("apps/web dev: "),
    "pnpm in a box": _prefix("│ "),
    "moreutils ts": _prefix("Feb 09 10:{mm}:{ss} "),
    "moreutils ts -i": _prefix("00:{mm}:{ss} "),
    "syslog with priority": _prefix("<134>1 2027-02-09T10:{mm}:{ss}.1Z web-host next 4711 - - "),
    "aws logs tail": _prefix("2027-02-09T10:{mm}:{ss}.123000+00:00 ecs/web/0f1e2d3c4b5a "),
    "winston": _prefix("2027-02-09 10:{mm}:{ss} info: "),
    "docker json-file": _docker_file,
    "pino": _objects(lambda text: {"level": 30, "time": 1, "pid": 1, "name": "console", "msg": text}, True),
    "pino, a line each": _objects(lambda text: {"level": 30, "time": 1, "pid": 1, "msg": text}),
    "GCP text": _objects(lambda text: {"insertId": "x", "textPayload": text, "timestamp": "2027-02-09T10:00:00Z"}),
    "GCP JSON": _objects(lambda text: {"jsonPayload": {"message": text, "level": "info"}, "severity": "INFO"}, True),
    "GCP, an indented document": _objects(lambda text: [{"insertId": "x", "textPayload": text}], True, indent=2),
    "CloudWatch export": _objects(lambda text: {"timestamp": 1801130400000, "message": text, "ingestionTime": 1}),
    "CloudWatch subscription": _objects(lambda text: {"logGroup": "x", "logEvents": [{"id": "1", "message": text}]}),
    "aws logs get-log-events": _objects(lambda text: {"timestamp": 1, "message": text}, True, indent=4),
    "Vercel log drain": _objects(lambda text: [{"id": "1", "source": "lambda", "message": text, "path": "/"}], True),
    "Next.js in JSON": _objects(
        lambda text: {"timestamp": "00:00:01.371", "source": "Server", "level": "LOG", "message": text}, True
    ),
    "Next.js in text": _next_text,
    "journal in JSON": _objects(_journal),
    "logfmt": lambda lines: "".join(f"level=info ts=1 msg={json.dumps(text)}\n" for text in _blocks(lines)),
    "docker around turbo": lambda lines: _docker_file(_prefix("web:dev: ")(lines).splitlines()),
    "compose around pino": lambda lines: _prefix("app-1  | ")(WRAPPERS["pino"](lines).splitlines()),
    "runtime around pino": lambda lines: _cri(WRAPPERS["pino"](lines).splitlines()),
    "time stamps around compose": lambda lines: _prefix("2027-02-09T10:{mm}:{ss}Z ")(
        _prefix("app-1  | ")(lines).splitlines()
    ),
}


def _said(reading: Reading) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What was read, without where it was read."""
    tables = []
    for table in (reading.attempts, reading.server):
        tables.append(table.drop(columns=[name for name in PLACE if name in table]))
    return tables[0].sort_values("started_at", ignore_index=True), tables[1]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_log_says_what_the_plain_one_says(
    recorded: tuple[list[Path], Reading], tmp_path: Path, wrapper: str
) -> None:
    logs, plain = recorded
    for log in logs:
        lines = log.read_text(encoding="utf-8").splitlines()
        (tmp_path / log.name).write_text(WRAPPERS[wrapper](lines), encoding="utf-8")
    wrapped = read_logs([tmp_path])
    for there, here in zip(_said(plain), _said(wrapped), strict=True):
        pd.testing.assert_frame_equal(here, there)
    assert wrapped.note is None
    assert set(wrapped.wrappers) == {str(tmp_path / log.name) for log in logs}
    assert list(wrapped.error_lines["kind"]) == list(plain.error_lines["kind"])


@pytest.mark.parametrize("wrapper", ["compose v1 in colours", "pino", "Next.js in text"])
def test_the_place_of_a_wrapped_line_is_its_line_in_the_file(corpus: Path, tmp_path: Path, wrapper: str) -> None:
    lines = (corpus / "local/near/next-dev-server-concurrency4.log").read_text(encoding="utf-8").splitlines()
    (tmp_path / "server.log").write_text(WRAPPERS[wrapper](lines))
    reading, printed = read_logs([tmp_path]), (tmp_path / "server.log").read_text().splitlines()
    for row in reading.server.itertuples():
        near = "\n".join(printed[row.first_line - 1 : row.first_line + 1])
        assert row.booking_id in near and "[inline-auto-assign] start {" in near


def test_two_printers_in_one_file_keep_their_blocks_apart(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "local/near/next-dev-server-concurrency1.log").read_text(encoding="utf-8").splitlines()
    half = next(at for at in range(len(lines) // 2, 0, -1) if lines[at].endswith("start {"))
    plain = read_logs([corpus / "local/near/next-dev-server-concurrency1.log"]).server.set_index("booking_id")
    mixed = []
    for first, second in zip(lines[:half], lines[half : 2 * half], strict=True):
        mixed += [f"web-1     | {first}", f"web-2     | {second}", "postgres  | LOG:  checkpoint starting: time"]
    (tmp_path / "server.log").write_text("\n".join(mixed) + "\n")
    reading = read_logs([tmp_path])
    apart = reading.server.set_index("booking_id")
    steps = ["quote_ms", "confirm_ms", "allocator_attempt_id"]
    assert len(apart) > 20
    pd.testing.assert_frame_equal(apart[steps].sort_index(), plain.loc[apart.index, steps].sort_index())
    assert reading.note is None, "what the database prints is not the platform's to be understood"


def test_records_of_two_printers_line_by_line_keep_their_blocks_apart(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "local/near/next-dev-server-concurrency1.log").read_text(encoding="utf-8").splitlines()
    half = next(at for at in range(len(lines) // 2, 0, -1) if lines[at].endswith("start {"))
    plain = read_logs([corpus / "local/near/next-dev-server-concurrency1.log"]).server.set_index("booking_id")
    records = [
        json.dumps({"time": f"{number}-{pod}", "kubernetes": {"pod": pod}, "message": text})
        for number, pair in enumerate(zip(lines[:half], lines[half : 2 * half], strict=True))
        for pod, text in zip(("web-a", "web-b"), pair, strict=True)
    ]
    (tmp_path / "server.log").write_text("\n".join(records) + "\n")
    apart = read_logs([tmp_path]).server.set_index("booking_id")
    assert len(apart) > 20
    pd.testing.assert_series_equal(apart["confirm_ms"].sort_index(), plain.loc[apart.index, "confirm_ms"].sort_index())


def test_a_wrapper_after_a_long_banner_is_found_as_well(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "local/near/next-dev-server-concurrency4.log").read_text(encoding="utf-8").splitlines()
    banner = [f" ○ Compiling /page-{number} ..." for number in range(9000)]
    (tmp_path / "server.log").write_text(_prefix("app-1  | ")([*banner, *lines]))
    assert len(read_logs([tmp_path]).server) == 32


def test_one_block_alone_is_enough_to_find_a_wrapper(tmp_path: Path) -> None:
    block = ["[bookings][POST][inline-auto-assign] quote result {", "  bookingId: 'a',", "  durationMs: 12", "}"]
    (tmp_path / "server.log").write_text(_prefix("web  | ")(block))
    assert list(read_logs([tmp_path]).server["quote_ms"]) == [12]


def test_an_indented_message_in_the_journal_is_put_back(tmp_path: Path) -> None:
    heads = ("[bookings][POST][inline-auto-assign] quote result {", "[bookings][POST][inline-auto-assign] start {")
    prefix, lines = "Feb 09 10:00:00 host next[4711]: ", list[str]()
    for number in range(6):
        lines += [prefix + heads[number % 2], *(" " * len(prefix) + inner for inner in (f"  bookingId: 'b{number}',",))]
        lines += [" " * len(prefix) + f"  durationMs: {number}", " " * len(prefix) + "}"]
    (tmp_path / "server.log").write_text("\n".join(lines) + "\n")
    assert list(read_logs([tmp_path]).server["quote_ms"].dropna()) == [0, 2, 4]


# --- encodings, packing, names


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["bare", "with its mark"])
@pytest.mark.parametrize("wide_from", [0, 40], ids=["whole", "appended"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_wide_text_is_read_with_and_without_its_mark(
    corpus: Path, tmp_path: Path, encoding: str, mark: str, wide_from: int, end: str
) -> None:
    log = corpus / "next-dev-server-concurrency1-postfix.log"
    lines = [f"{line}{end}" for line in log.read_text(encoding="utf-8").splitlines()]
    wide = (mark + "".join(lines[wide_from:])).encode(encoding)
    (tmp_path / "server.log").write_bytes("".join(lines[:wide_from]).encode() + wide + b"[supabase] again in UTF-8\n")
    pd.testing.assert_frame_equal(_said(read_logs([tmp_path]))[1], _said(read_logs([log]))[1])


@pytest.mark.parametrize(
    "name",
    [
        *("server.log-20270209", "server.log.1", "server.log.2.gz", "server-2027-02-09.log", "server.log-20270209.gz"),
        *("server.log.2027-02-09", "server.log-20270209-1801130400.xz", "server.log.old", "server.2027-02-09.log.bz2"),
        *("server.log_2027-02-09T10-00-00Z", "out.LOG.10", "app.jsonl.3"),
    ],
)
def test_a_rotated_log_is_found_in_a_folder(cases: Path, tmp_path: Path, name: str) -> None:
    text = (cases / "logrotate-dateext" / "server.log-20270209").read_bytes()
    packers = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
    (tmp_path / name).write_bytes(packers.get(Path(name).suffix, bytes)(text))
    assert len(read_logs([tmp_path]).server) == 2


# --- the request lines of Next.js 13 to 16


@pytest.mark.parametrize(
    ("line", "handler_ms", "compile_ms"),
    [
        (" POST /api/bookings 201 in 22.1s (compile: 729ms, render: 21.4s)", 22100, 729),
        (" POST /api/bookings 201 in 22.1s (compile: 729ms, proxy.ts: 3ms, render: 21.4s)", 22100, 729),
        (
            " POST /api/bookings 201 in 5.2s (next.js: 700ms, proxy.ts: 3ms, generate-params: 1.5ms)",
            5200,
            700,
        ),
        (" POST /api/bookings 201 in 0.9ms (next.js: 0.4ms, application-code: 0.5ms)", 0.9, 0.4),
        (" POST /api/bookings 201 in 22100ms", 22100, None),
        ("- POST /api/bookings 201 in 385ms", 385, None),
        ("POST /api/bookings?x=1 200 in 2.5min (compile: 900µs, render: 2.5min)", 150_000, 0.9),
        ("\x1b[1m POST /api/bookings \x1b[32m201\x1b[39m in 45s\x1b[2m (compile: 1663us, render: 45s)", 45_000, 1.663),
    ],
)
def test_a_request_line_of_any_version_gives_its_times(
    tmp_path: Path, line: str, handler_ms: float, compile_ms: float | None
) -> None:
    fetches = [
        " │ GET https://db.example.co/rest/v1/bo.. 200 in 12ms (cache skip)",
        " │ │ Cache skipped reason: (auto no cache)",
    ]
    block = ["[bookings][POST][inline-auto-assign] confirm completed {", "  bookingId: 'a',", "  durationMs: 12", "}"]
    (tmp_path / "server.log").write_text("\n".join([*block, line, *fetches]) + "\n")
    reading = read_logs([tmp_path])
    row = reading.server.iloc[0]
    assert row["handler_ms"] == pytest.approx(handler_ms)
    assert row["compile_ms"] == pytest.approx(compile_ms) if compile_ms else pd.isna(row["compile_ms"])
    assert reading.note is None


# --- what yields nothing


def test_a_prefix_that_looks_like_a_tag_makes_no_booking_log(tmp_path: Path) -> None:
    (tmp_path / "server.log").write_text("[web] ready\n[web] hello {\n[web]   a: 1\n[web] }\n" * 20)
    with pytest.raises(BadInput, match=r"^no booking log: "):
        read_logs([tmp_path / "server.log"])


def test_a_server_log_without_a_booking_is_said_and_alone_it_is_bad_input(cases: Path, tmp_path: Path) -> None:
    client = cases / "prefix-compose" / "slot-fill-concurrency1.log"
    barren = tmp_path / "server.log"
    barren.write_text(" ✓ Ready in 662ms\n POST /api/bookings 403 in 5ms\n POST /api/bookings 403 in 4ms\n")
    [note] = read_logs([client], [barren]).notes
    assert note == f"{barren}: NO BOOKING in this server log: the platform answered its booking requests 2 with 403"
    for paths, servers in (([barren], []), ([], [barren])):
        with pytest.raises(BadInput, match="answered its booking requests 2 with 403"):
            read_logs(paths, servers)


def test_an_error_before_a_tag_is_no_prefix(corpus: Path, tmp_path: Path) -> None:
    lines = (corpus / "local/near/next-dev-server-concurrency4.log").read_text(encoding="utf-8").splitlines()
    for at in (200, 100, 50):
        lines.insert(at, "Error: [auto-assign][job] gave up")
    (tmp_path / "server.log").write_text("\n".join(lines) + "\n")
    reading = read_logs([tmp_path])
    assert reading.wrappers == {}
    assert re.search("gave up", (tmp_path / "server.log").read_text()) and len(reading.server) == 32
