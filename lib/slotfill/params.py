"""The settings of a run: read from YAML files, validated before anything starts.

``params/base.yaml`` and the defaults here are the same values (a test holds them together): the
embedded preset, which shortens the polling windows. ``params/plan.yaml`` has the plan's own.
"""

from collections.abc import Hashable, Mapping, Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from slotfill.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: notebooks, params and artifacts are found from here whatever the working directory."""

VENUE_ZONE = ZoneInfo("Europe/London")
LARGEST_LEVEL = 64
EMBEDDED = "embedded"

FLAG_NAMES = (
    "FEATURE_ALLOCATOR_V2_ENABLED",
    "FEATURE_SELECTOR_ENUMERATION_TIMEOUT_MS",
    "FEATURE_ALLOCATOR_SERVICE_FAIL_HARD",
    "FEATURE_AUTO_ASSIGN_ON_BOOKING",
    "FEATURE_INLINE_AUTO_ASSIGN_TIMEOUT_MS",
)


def _clock(value: object) -> object:
    """``16:00`` without quotes is the integer 960 in YAML 1.1: read it back as the time that was meant."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return f"{value // 60:02d}:{value % 60:02d}"
    return value


ClockTime = Annotated[str, BeforeValidator(_clock), Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Brakes(_Model):
    """When to stop by itself; 0 switches a brake off."""

    database_errors: int = Field(5, ge=0)
    """Consecutive attempts that failed with a database text."""
    error_rate: float = Field(0.5, ge=0, le=1)
    """Share of failed attempts among the last ``error_window``."""
    error_window: int = Field(20, ge=1)
    p95_ms: float = Field(0, ge=0)
    """95th percentile of the submit over the last ``error_window`` attempts."""
    integrity_every_s: float = Field(30, ge=0)
    rate_limited: int = Field(10, ge=0)
    """Consecutive answers 429."""


class Settings(_Model):
    """Everything that decides a run. Durations are milliseconds unless the name says otherwise."""

    target: str = Field(EMBEDDED, min_length=1)
    base_url: str | None = None
    env_file: str = ".env.local"
    """Relative to the checkout, as ``server_log`` is."""
    allow_local_fallback: bool = False
    server_log: str | None = None
    prepare: bool = True
    """Reset and seed the venue before each level, so that every level starts from the same state."""

    restaurant_slug: str = Field("white-horse-pub-waterbeach", min_length=1)
    date: str = Field("auto", validate_default=True)
    start: ClockTime = "16:00"
    end: ClockTime = "20:00"
    interval_minutes: int = Field(15, ge=1, le=24 * 60)
    concurrency: list[Annotated[int, Field(ge=1, le=LARGEST_LEVEL)]] = Field([1, 4, 8], min_length=1)
    rounds: int = Field(3, ge=1, le=100)
    """How often every level is driven, each time in another order, so that a level is not one stretch of time."""
    stress_max: int = Field(10, ge=1, le=1000)
    min_party_size: int = Field(1, ge=1, le=100)
    max_party_size: int = Field(12, ge=1, le=100)
    booking_type: Literal["auto", "lunch", "dinner", "drinks"] = "auto"
    seating: Literal["any", "indoor", "outdoor"] = "any"
    seed: int = Field(20261122, ge=0)

    submit_timeout_ms: int = Field(30_000, ge=100)
    inline_window_ms: int = Field(5_000, ge=5_000)
    poll_interval_ms: int = Field(500, ge=500)
    timeout_ms: int = Field(60_000, ge=5_000)
    drain_ms: int = Field(30_000, ge=0)

    warmup_requests: int = Field(3, ge=0, le=100)
    sample_interval_ms: int = Field(100, ge=0)
    profiling: bool = True
    flags: dict[str, str] = {}
    faults: dict[str, bool | float] = {}
    job_retry_delays_ms: list[Annotated[int, Field(ge=0)]] = Field([0, 50, 500], min_length=1, max_length=10)

    max_attempts: int = Field(2_000, ge=1)
    max_rate_per_min: float = Field(0, ge=0)
    max_duration_s: float = Field(3_600, gt=0)
    brakes: Brakes = Brakes()
    thresholds: dict[str, float] = {}
    bootstrap_resamples: int = Field(2_000, ge=100, le=100_000)

    @field_validator("concurrency", mode="before")
    @classmethod
    def _one_level_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("concurrency")
    @classmethod
    def _levels_differ(cls, levels: list[int]) -> list[int]:
        if len(set(levels)) != len(levels):
            raise ValueError(f"names a level twice: {levels}")
        return levels

    @field_validator("base_url")
    @classmethod
    def _an_address_without_a_login(cls, url: str | None) -> str | None:
        if url is not None and not _is_base_url(url):
            raise ValueError("must look like https://host or http://host:port")
        if url is not None and "@" in url:
            raise ValueError("must hold no login: logs and reports repeat it")
        return url

    @field_validator("flags", mode="before")
    @classmethod
    def _flags_are_texts(cls, flags: object) -> object:
        if not isinstance(flags, Mapping):
            return flags
        unknown = sorted(set(flags) - set(FLAG_NAMES))
        if unknown:
            raise ValueError(f"has no flag {unknown[0]}; known: {', '.join(FLAG_NAMES)}")
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in flags.items()}

    @field_validator("date", mode="before")
    @classmethod
    def _a_day_to_come(cls, value: object) -> str:
        if value == "auto":
            return next_quiet_day(today()).isoformat()
        try:
            day = value if isinstance(value, Date) else Date.fromisoformat(str(value))
        except ValueError:
            raise ValueError(f"is not a date YYYY-MM-DD or auto: {value!r}") from None
        return day.isoformat()

    @model_validator(mode="after")
    def _grid_makes_sense(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.max_party_size < self.min_party_size:
            raise ValueError(f"max_party_size {self.max_party_size} is below min_party_size {self.min_party_size}")
        if self.timeout_ms < self.inline_window_ms:
            raise ValueError(f"timeout_ms {self.timeout_ms} is below inline_window_ms {self.inline_window_ms}")
        return self

    @property
    def embedded(self) -> bool:
        return self.target == EMBEDDED

    def only(self, concurrency: int) -> "Settings":
        """The same settings with this one level."""
        return self.model_copy(update={"concurrency": [concurrency]})


def _is_base_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port, or no host that brackets could hold
        return False


def today() -> Date:
    """The venue's date now."""
    return datetime.now(VENUE_ZONE).date()


def next_quiet_day(after: Date) -> Date:
    """The first Tuesday, Wednesday or Thursday at least 14 days on: open, and clear of weekends."""
    day = after + timedelta(days=14)
    while day.weekday() not in (1, 2, 3):
        day += timedelta(days=1)
    return day


def load(files: Sequence[Path] = (), overrides: Mapping[str, str] | None = None) -> Settings:
    """Settings from YAML files, later ones over earlier ones, then ``key=value`` overrides.

    ``brakes``, ``faults``, ``flags`` and ``thresholds`` are merged name by name; ``faults.db_rtt_ms`` in an
    override sets one of their entries. Raises BadInput with one line that names file or key.
    """
    values: dict[str, Any] = {}
    for file in files:
        values = _merge(values, read_yaml(file))
    for key, text in (overrides or {}).items():
        values = _merge(values, _nest(key, _parse_override(key, text)))
    # Not the values: one that is refused for a password in it must not be repeated.
    sources = [str(file) for file in files] + [f"--set {key}" for key in overrides or {}]
    where = ", ".join(sources) or "the built-in defaults"
    settings = validate(values, where)
    refuse_past(settings, where)
    return settings


def validate(values: Mapping[str, Any], where: str) -> Settings:
    """Settings from plain values; BadInput names the first offending key and ``where`` it came from."""
    try:
        return Settings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInput(f"{where}: {_complaint(key, first['type'], first['msg'])}") from None


def refuse_past(settings: Settings, where: str) -> None:
    """Raise BadInput where the date has gone by: the platform answers 422 to every such booking."""
    if Date.fromisoformat(settings.date) < today():
        raise BadInput(f"{where}: date {settings.date} is in the past; give a day to come, or auto")


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML mapping; BadInput where the file is missing, unreadable, no mapping, or names a key twice."""
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file}: is not UTF-8 text") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise BadInput(f"{file}{line}: {getattr(error, 'problem', None) or error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise BadInput(f"{file}: must hold 'name: value' lines")
    return content


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key written twice is an error instead of the last one winning in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _nest(key: str, value: object) -> dict[str, Any]:
    first, dot, rest = key.partition(".")
    # Names of thresholds hold a dot of their own.
    return {first: {rest: value}} if dot else {first: value}


def _parse_override(key: str, text: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a date that no calendar has
        raise BadInput(f"--set {key}: cannot read the value; quote it as YAML") from None


def _complaint(key: str, kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return f"unknown parameter {key}; known: {', '.join(Settings.model_fields)}"
    plain = message.removeprefix("Value error, ")
    return f"{key}: {plain}" if key else plain
