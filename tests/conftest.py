"""What every test may ask for."""

import signal
from pathlib import Path

import pytest

# Started in the background, a shell has SIGINT ignored, and every process a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the platform's recorded logs; they are not part of the project."""
    if not CORPUS.is_dir():
        pytest.skip(f"the recorded logs are not beside this checkout ({CORPUS.parent.name}/{CORPUS.name})")
    return CORPUS
