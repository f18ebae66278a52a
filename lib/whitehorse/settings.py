"""What the platform is told by its environment: flags, faults and the job's retry delays."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whitehorse.faults import Faults

FLAGS = {
    "DEBUG_CAPACITY_PROFILING": "profiling",
    "FEATURE_ALLOCATOR_V2_ENABLED": "allocator_v2",
    "FEATURE_SELECTOR_ENUMERATION_TIMEOUT_MS": "enumeration_timeout_ms",
    "FEATURE_ALLOCATOR_SERVICE_FAIL_HARD": "fail_hard",
    "FEATURE_AUTO_ASSIGN_ON_BOOKING": "auto_assign",
    "FEATURE_INLINE_AUTO_ASSIGN_TIMEOUT_MS": "inline_timeout_ms",
}
DATABASE_URL = "DATABASE_URL"
FAULTS = "WHITEHORSE_FAULTS"
RETRY_DELAYS = "WHITEHORSE_JOB_RETRY_DELAYS_MS"
POSTGRES_PORT = "WHITEHORSE_POSTGRES_PORT"
"""The port of the embedded Postgres, for who has to know it beforehand."""
OTLP_ENDPOINT = "WHITEHORSE_OTLP_ENDPOINT"
"""``http://host:port`` where the web process sends its OpenTelemetry; none is made without it."""
WEB_DATABASE = "WHITEHORSE_WEB_DATABASE"
"""``host:port`` where the web process finds the database instead: a proxy in front of it."""
WAY_TO_DATABASE = (DATABASE_URL, POSTGRES_PORT, WEB_DATABASE)


class BadSettings(ValueError):
    """A flag, fault or delay that cannot be used; the message is one line."""


class Settings(BaseModel):
    """Everything that changes how the platform behaves.

    ``allocator_v2`` off keeps to single tables. ``fail_hard`` makes an enumeration that ran out of time, or a
    table lost to another booking, an error instead of the best found so far or another try. ``auto_assign``
    off leaves every booking pending: no inline allocation, no job. ``job_retry_delays_ms`` is the wait before
    each attempt of a job, so its length is the number of attempts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profiling: bool = False
    allocator_v2: bool = True
    enumeration_timeout_ms: int = Field(500, ge=50, le=10_000)
    fail_hard: bool = False
    auto_assign: bool = True
    inline_timeout_ms: int = Field(12_000, ge=2_000, le=20_000)
    job_retry_delays_ms: tuple[float, ...] = Field((0, 5_000, 15_000, 45_000), min_length=1)
    faults: Faults = Faults()
    otlp_endpoint: str | None = None

    @property
    def inline_budget_ms(self) -> float:
        """How long a request waits for its inline allocation; 0 means it does not allocate."""
        if not self.auto_assign:
            return 0
        planted = self.faults.inline_timeout_ms
        return self.inline_timeout_ms if planted is None else planted

    @property
    def flags(self) -> dict[str, Any]:
        """The settings under the names of the environment."""
        return {name: getattr(self, field) for name, field in FLAGS.items()}


def from_environment(environ: Mapping[str, str]) -> Settings:
    """The settings an environment asks for. Raises BadSettings with one line that names the culprit."""
    values: dict[str, Any] = {field: environ[name] for name, field in FLAGS.items() if name in environ}
    if environ.get(OTLP_ENDPOINT):
        values["otlp_endpoint"] = environ[OTLP_ENDPOINT]
    for name, field in ((FAULTS, "faults"), (RETRY_DELAYS, "job_retry_delays_ms")):
        if environ.get(name):
            values[field] = _json(name, environ[name])
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise BadSettings(_one_line(error)) from None


def way_to_database(environ: Mapping[str, str]) -> dict[str, str]:
    """Which database an environment asks for, and by which way; it can hold a password."""
    return {name: environ[name] for name in WAY_TO_DATABASE if environ.get(name)}


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise BadSettings(f"{name} is not JSON: {text[:80]!r}") from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    names = {field: name for name, field in FLAGS.items()} | {"faults": FAULTS, "job_retry_delays_ms": RETRY_DELAYS}
    where = " ".join([names[str(first["loc"][0])], *map(str, first["loc"][1:])])
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such fault; the faults are {', '.join(Faults.model_fields)}"
    return f"{where}: {first['msg']}, got {first['input']!r}"
