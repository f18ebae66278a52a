"""The settings of a run: read from YAML files, validated before anything starts.

``params/base.yaml`` and the defaults here are the same values (a test holds them together): the
embedded preset, which shortens the polling windows. ``params/plan.yaml`` has the plan's own.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slotfill.address import on_loopback
from slotfill.complaint import complaint, shown
from slotfill.errors import BadInput
from slotfill.headers import Csrf, Headers
from slotfill.yaml_file import parse_yaml, read_yaml

ROOT = Path(__file__).resolve().parents[2]
"""The checkout: notebooks, params and artifacts are found from here whatever the working directory."""

VENUE_ZONE = ZoneInfo("Europe/London")
LARGEST_LEVEL = 64
LONGEST_MS = 24 * 3_600_000
FARTHEST_DAY = timedelta(days=36_525)
LARGEST_FAULT = 600_000
EMBEDDED = "embedded"

FLAG_NAMES = (
    "FEATURE_ALLOCATOR_V2_ENABLED",
    "FEATURE_SELECTOR_ENUMERATION_TIMEOUT_MS",
    "FEATURE_ALLOCATOR_SERVICE_FAIL_HARD",
    "FEATURE_AUTO_ASSIGN_ON_BOOKING",
    "FEATURE_INLINE_AUTO_ASSIGN_TIMEOUT_MS",
)


def _clock(value: object) -> str:
    """``16:00`` without quotes is the integer 960 in YAML 1.1: read it back as the time that was meant."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 24 * 60:
        return f"{value // 60:02d}:{value % 60:02d}"
    if isinstance(value, str) and re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        return value
    raise ValueError(f'must be a time like "16:00", not {shown(value)}')


ClockTime = Annotated[str, BeforeValidator(_clock)]


def _name(text: str) -> str:
    """The target's name becomes a part of the run folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError(f"is a name of letters, digits, dots and dashes, not {shown(text)}")
    return text


def _without_controls(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds a control character, or is not UTF-8")
    return text


Text = Annotated[str, AfterValidator(_without_controls), Field(min_length=1, max_length=1000)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: object, field: ValidationInfo) -> object:
        wanted = str(cls.model_fields[field.field_name or ""].annotation)
        told = value if isinstance(value, list) else value.values() if isinstance(value, dict) else [value]
        if "bool" not in wanted and re.search("int|float", wanted) and any(isinstance(each, bool) for each in told):
            raise ValueError(f"must be a number, not {shown(value)}")
        return value


class Brakes(_Model):
    """When to stop by itself; 0 switches a brake off."""

    database_errors: int = Field(5, ge=0, le=1_000_000)
    """Consecutive attempts that failed with a database text."""
    error_rate: float = Field(0.5, ge=0, le=1)
    """Share of failed attempts among the last ``error_window``."""
    error_window: int = Field(20, ge=1, le=1_000_000)
    p95_ms: float = Field(0, ge=0, le=LONGEST_MS)
    """95th percentile of the submit over the last ``error_window`` attempts."""
    integrity_every_s: float = Field(30, ge=0, le=24 * 3_600)
    rate_limited: int = Field(10, ge=0, le=1_000_000)
    """Consecutive answers 429."""


class TapSettings(_Model):
    """A border to listen at: see ``slotfill tap``."""

    upstream: str | None = None
    """``http://host:port`` or ``postgresql://host:port``, without a login; ``None`` where the run knows it itself."""
    listen: str = "127.0.0.1:0"
    """Where the platform (or our own client) is sent to instead; port 0 is any that is free."""
    delay_ms: float = Field(0, ge=0, le=60_000)


class Settings(_Model):
    """Everything that decides a run. Durations are milliseconds unless the name says otherwise."""

    target: Annotated[str, AfterValidator(_name)] = EMBEDDED
    base_url: Text | None = None
    env_file: Text = ".env.local"
    """Relative to the checkout, as ``server_log`` is."""
    allow_local_fallback: bool = False
    server_log: Text | None = None
    headers: Headers = {}
    """Sent with every request; ``${NAME}`` stands for a variable of the environment or the environment file."""
    csrf: Csrf | None = None
    prepare: bool = True
    """Reset and seed the venue before each level, so that every level starts from the same state."""

    restaurant_slug: Text = "white-horse-pub-waterbeach"
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
    seed: int = Field(20261122, ge=0, lt=2**63)

    submit_timeout_ms: int = Field(30_000, ge=100, le=LONGEST_MS)
    inline_window_ms: int = Field(5_000, ge=5_000, le=LONGEST_MS)
    poll_interval_ms: int = Field(500, ge=500, le=LONGEST_MS)
    timeout_ms: int = Field(60_000, ge=5_000, le=LONGEST_MS)
    drain_ms: int = Field(30_000, ge=0, le=LONGEST_MS)

    warmup_requests: int = Field(3, ge=0, le=100)
    sample_interval_ms: int = Field(100, ge=0, le=LONGEST_MS)
    profiling: bool = True
    otlp_listen: str | None = None
    """``host:port`` on loopback where a run listens for the platform's OpenTelemetry; ``None``: it does not."""
    telemetry: bool = False
    """Whether the embedded platform sends its own OpenTelemetry to ``otlp_listen`` (the extra ``otel``)."""
    taps: dict[str, TapSettings] = {}
    """By name. The run knows the upstreams of ``web`` (our client's border) and, embedded, of ``database`` (web's)."""
    flags: dict[str, str] = {}
    faults: dict[str, bool | Annotated[float, Field(ge=0, le=LARGEST_FAULT)]] = {}
    job_retry_delays_ms: list[Annotated[int, Field(ge=0, le=LONGEST_MS)]] = Field([0], min_length=1, max_length=10)

    max_attempts: int = Field(2_000, ge=1, le=1_000_000)
    max_rate_per_min: float = Field(0, ge=0, le=1e6)
    max_duration_s: float = Field(3_600, gt=0, le=7 * 24 * 3_600)
    brakes: Brakes = Brakes()
    thresholds: dict[str, float] = {}

    @field_validator("concurrency", mode="before")
    @classmethod
    def _one_level_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, int) else value

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

    @field_validator("otlp_listen")
    @classmethod
    def _a_port_of_this_machine(cls, listen: str | None) -> str | None:
        return None if listen is None else require_loopback(listen)

    @field_validator("taps", mode="before")
    @classmethod
    def _a_tap_needs_no_more_than_its_name(cls, taps: object) -> object:
        return {name: {} if tap is None else tap for name, tap in taps.items()} if isinstance(taps, Mapping) else taps

    @field_validator("taps")
    @classmethod
    def _taps_have_plain_names(cls, taps: dict[str, TapSettings]) -> dict[str, TapSettings]:
        for name, tap in taps.items():
            if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name):
                raise ValueError(f"must be named by small letters, not {name!r}")
            if tap.upstream is not None and "@" in tap.upstream:
                raise ValueError(f"{name}.upstream must hold no login: run.json repeats it")
        return taps

    @field_validator("flags", mode="before")
    @classmethod
    def _flags_are_texts(cls, flags: object) -> object:
        if not isinstance(flags, Mapping):
            return flags
        unknown = [name for name in flags if name not in FLAG_NAMES]
        if unknown:
            raise ValueError(f"has no flag {unknown[0]}; known: {', '.join(FLAG_NAMES)}")
        return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in flags.items()}

    @field_validator("date", mode="before")
    @classmethod
    def _a_day_to_come(cls, value: object) -> str:
        if value == "auto":
            return next_quiet_day(today()).isoformat()
        if isinstance(value, datetime):
            raise ValueError(f"is a day and a time; give the day alone: {value:%Y-%m-%d}")
        if isinstance(value, Date):
            return value.isoformat()
        try:
            return datetime.strptime(str(value), "%Y-%m-%d").date().isoformat()
        except ValueError:
            raise ValueError(f"is not a date YYYY-MM-DD or auto: {shown(value)}") from None

    @model_validator(mode="after")
    def _grid_makes_sense(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        if self.max_party_size < self.min_party_size:
            raise ValueError(f"max_party_size {self.max_party_size} is below min_party_size {self.min_party_size}")
        if self.telemetry and not (self.embedded and self.otlp_listen):
            raise ValueError("telemetry is the embedded platform's, and needs otlp_listen, such as 127.0.0.1:4318")
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


def require_loopback(listen: str) -> str:
    """``host:port`` as it is. Raises ValueError where that is no port of this machine alone."""
    found = on_loopback(listen)
    if found is None or found[1] == 0:
        raise ValueError(f"must be a port on loopback, such as 127.0.0.1:4318, not {listen!r}")
    return listen


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
    sources = [*map(str, files), *(["--set"] if overrides else [])]
    where = ", ".join(sources) or "the built-in defaults"
    for key in RETIRED.keys() & values:
        print(f"slotfill: {where}: {key} has no effect: {RETIRED[key]}; take it out", file=sys.stderr)
    settings = validate(values, where)
    require_day_to_come(settings, where)
    return settings


RETIRED = {"bootstrap_resamples": "it decided nothing any more, for intervals are computed without resampling"}
"""Parameters of earlier versions, with why they are gone; what was recorded with them is still read."""


def validate(values: Mapping[str, Any], where: str) -> Settings:
    """Settings from plain values; BadInput names the first offending key and ``where`` it came from."""
    try:
        return Settings.model_validate({key: value for key, value in values.items() if key not in RETIRED})
    except ValidationError as error:
        raise BadInput(f"{where}: {complaint(error, Settings)}") from None


def require_day_to_come(settings: Settings, where: str) -> None:
    """Raise BadInput where the date has gone by: the platform answers 422 to every such booking. Or is out of reach."""
    day = Date.fromisoformat(settings.date)
    if day < today():
        raise BadInput(f"{where}: date {settings.date} is in the past; give a day to come, or auto")
    if day > today() + FARTHEST_DAY:
        raise BadInput(f"{where}: date {settings.date} lies over a century ahead; give an earlier one")


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
        return parse_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise BadInput(f"--set {key}: cannot read the value; quote it as YAML") from None
