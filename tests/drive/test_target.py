"""Which platform the settings lead to, and what is said where they lead nowhere."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import waiting

from slotfill.database import connect
from slotfill.drive.target import BASE_URL, DATABASE_URL, open_platform, remote
from slotfill.errors import BadInput, Refused, Unreachable
from slotfill.params import ROOT, Settings

# The platform outlives the call that started it, on purpose: it ends when nobody uses it any more.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning")

SECRET = "hunter2"  # not a secret of anything
DATABASE = f"postgresql://runner:{SECRET}@127.0.0.1:6543/bookings"


@pytest.fixture
def remote_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_settings: Callable[..., Settings]
) -> Callable[..., Settings]:
    """Settings of a target called staging, whose environment file holds what it is given."""
    for name in (BASE_URL, DATABASE_URL):
        monkeypatch.delenv(name, raising=False)

    def make(environment: dict[str, str], **changes: Any) -> Settings:
        file = tmp_path / ".env.local"
        file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
        return make_settings(target="staging", env_file=str(file), **changes)

    return make


def test_a_remote_platform_is_found_by_its_environment_file(
    tmp_path: Path, remote_settings: Callable[..., Settings]
) -> None:
    settings = remote_settings({BASE_URL: "http://127.0.0.1:3020/", DATABASE_URL: DATABASE})

    with open_platform(settings, tmp_path / "home") as platform:
        assert (platform.name, platform.base_url, platform.database_url) == (
            "staging",
            "http://127.0.0.1:3020",
            DATABASE,
        )
        assert not platform.embedded and platform.note is None
        assert SECRET not in repr(platform)
    assert not (tmp_path / "home").exists()


def test_the_parameters_base_url_comes_before_the_environments(
    tmp_path: Path, remote_settings: Callable[..., Settings]
) -> None:
    settings = remote_settings(
        {BASE_URL: "http://127.0.0.1:3020", DATABASE_URL: DATABASE}, base_url="http://127.0.0.1:9999"
    )

    with open_platform(settings, tmp_path / "home") as platform:
        assert platform.base_url == "http://127.0.0.1:9999"


def test_a_relative_server_log_is_looked_up_in_the_checkout_wherever_the_command_is_given(
    tmp_path: Path, remote_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {BASE_URL: "http://127.0.0.1:3020", DATABASE_URL: DATABASE}

    relative = remote(remote_settings(environment, server_log="logs/next.log"))
    absolute = remote(remote_settings(environment, server_log="/var/log/next.log"))

    assert relative.server_log == ROOT / "logs" / "next.log"
    assert absolute.server_log == Path("/var/log/next.log")


@pytest.mark.parametrize("missing", [BASE_URL, DATABASE_URL])
def test_a_missing_name_is_named(tmp_path: Path, remote_settings: Callable[..., Settings], missing: str) -> None:
    environment = {BASE_URL: "http://127.0.0.1:3020", DATABASE_URL: DATABASE}
    settings = remote_settings({name: value for name, value in environment.items() if name != missing})

    with pytest.raises(BadInput, match=missing), open_platform(settings, tmp_path / "home"):
        pass


@pytest.mark.parametrize(
    "environment",
    [
        {BASE_URL: "127.0.0.1:3020", DATABASE_URL: DATABASE},
        {BASE_URL: "ftp://127.0.0.1", DATABASE_URL: DATABASE},
        {BASE_URL: f"http://runner:{SECRET}@127.0.0.1:3020", DATABASE_URL: DATABASE},
        {BASE_URL: "http://127.0.0.1:3020", DATABASE_URL: f"mysql://runner:{SECRET}@127.0.0.1/bookings"},
        {BASE_URL: "http://127.0.0.1:3020", DATABASE_URL: f"postgresql://runner:{SECRET}@127.0.0.1:port/bookings"},
    ],
)
def test_a_malformed_url_is_refused_without_repeating_its_password(
    tmp_path: Path, remote_settings: Callable[..., Settings], environment: dict[str, str]
) -> None:
    with pytest.raises(BadInput) as refusal, open_platform(remote_settings(environment), tmp_path / "home"):
        pass

    assert SECRET not in str(refusal.value)


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'long' * 20}.invalid"])
def test_a_host_that_does_not_resolve_is_unreachable_unless_the_parameters_allow_the_local_one(
    tmp_path: Path, remote_settings: Callable[..., Settings], host: str
) -> None:
    settings = remote_settings({BASE_URL: f"http://{host}", DATABASE_URL: DATABASE})

    with pytest.raises(Unreachable, match="allow_local_fallback"), open_platform(settings, tmp_path / "home"):
        pass
    assert not (tmp_path / "home").exists()


def test_the_fallback_to_the_embedded_platform_says_what_it_means(
    tmp_path: Path, remote_settings: Callable[..., Settings]
) -> None:
    environment = {BASE_URL: "http://nowhere.invalid", DATABASE_URL: DATABASE}

    with open_platform(remote_settings(environment, allow_local_fallback=True), tmp_path / "home") as platform:
        assert platform.embedded and platform.name == "embedded"
        assert platform.note is not None and "nowhere.invalid" in platform.note and "staging" in platform.note
        assert httpx.get(f"{platform.base_url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200


def test_a_base_url_without_a_name_for_its_platform_is_refused(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    settings = make_settings(base_url="http://127.0.0.1:3020")

    with pytest.raises(Refused, match="set target"), open_platform(settings, tmp_path / "home"):
        pass


def test_the_embedded_platform_is_shared_as_long_as_its_settings_are(
    tmp_path: Path, make_settings: Callable[..., Settings]
) -> None:
    with open_platform(make_settings(), tmp_path) as first, open_platform(make_settings(seed=8), tmp_path) as second:
        assert second == first
        with (
            pytest.raises(BadInput, match="other settings"),
            open_platform(make_settings(faults={"db_rtt_ms": 5}), tmp_path),
        ):
            pass
        assert httpx.get(f"{first.base_url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200
    assert not (tmp_path / "platform.json").exists()


def test_a_fault_that_does_not_exist_is_bad_input(tmp_path: Path, make_settings: Callable[..., Settings]) -> None:
    with pytest.raises(BadInput, match="db_rrt_ms"), open_platform(make_settings(faults={"db_rrt_ms": 5}), tmp_path):
        pass


SERVE = """
import sys
from pathlib import Path
from slotfill.drive.target import serve
from slotfill.errors import SlotfillError
from slotfill.params import Settings
try:
    serve(Settings(), lambda line: print(line, flush=True), Path(sys.argv[1]))
except SlotfillError as error:
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("who", "number", "code"), [("us", signal.SIGINT, 0), ("it", signal.SIGKILL, 5)])
def test_the_platform_is_served_until_ctrl_c_or_its_own_end(
    tmp_path: Path, who: str, number: signal.Signals, code: int
) -> None:
    serving = subprocess.Popen([sys.executable, "-c", SERVE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    url = next(word.rstrip(";") for word in serving.stdout.readline().split() if word.startswith("http"))
    assert httpx.get(f"{url}/api/health", timeout=waiting.PATIENCE_S).status_code == 200
    told = json.loads((tmp_path / "platform.json").read_text())
    assert connect.parse_url(told["database_url"]).password not in serving.stdout.readline()
    platform = [psutil.Process(pid) for pid in (told["pid"], *told["pids"].values())]

    os.kill(serving.pid if who == "us" else told["pid"], number)

    serving.communicate(timeout=waiting.PATIENCE_S)
    assert serving.returncode == code
    assert psutil.wait_procs(platform, timeout=waiting.PATIENCE_S)[1] == []
