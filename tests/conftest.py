"""What every test may ask for."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus"


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of the platform's recorded logs; they are not part of the project."""
    if not CORPUS.is_dir():
        pytest.skip(f"the recorded logs are not beside this checkout ({CORPUS.parent.name}/{CORPUS.name})")
    return CORPUS
