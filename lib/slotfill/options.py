"""The options that all commands with parameters share, and the help that lists what may be set."""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

GROUPS = {
    "Target": "target base_url env_file allow_local_fallback server_log prepare headers csrf",
    "Slots and guests": "restaurant_slug date start end interval_minutes stress_max min_party_size max_party_size "
    "booking_type seating seed",
    "Load": "concurrency rounds max_attempts max_rate_per_min max_duration_s warmup_requests",
    "Waiting": "submit_timeout_ms inline_window_ms poll_interval_ms timeout_ms drain_ms",
    "Brakes and thresholds": "brakes thresholds",
    "What is seen": "sample_interval_ms profiling otlp_listen telemetry taps",
    "Embedded platform": "flags faults job_retry_delays_ms",
}
"""The parameters by what they are about."""


class WithParameters(click.Command):
    """A command whose help lists the parameters, each with its default."""

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples first, then the parameters by group."""
        super().format_epilog(context, formatter)
        from slotfill.params import Settings

        formatter.write_paragraph()
        formatter.write_text(
            "Parameters for -f (a YAML file) and --set, with their defaults; params/base.yaml explains each:"
        )
        with formatter.indentation():
            for title, names in GROUPS.items():
                told = [
                    _told(name, Settings.model_fields[name].get_default(call_default_factory=True))
                    for name in names.split()
                ]
                formatter.write_text(f"{title}: {', '.join(told)}")


def with_settings(command: Command) -> Command:
    """Give a command ``-f`` and ``--set``, and hand it the Settings they make."""

    @click.option("-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="A parameter file.")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one parameter.")
    @wraps(command)
    def loaded(files: Sequence[Path], overrides: Sequence[str], **rest: Any) -> Any:
        from slotfill import params

        return command(params.load(files, _pairs(overrides)), **rest)

    return loaded


def _pairs(overrides: Sequence[str]) -> dict[str, str]:
    from slotfill.errors import BadInput

    pairs = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise BadInput(f"--set {text}: must be KEY=VALUE")
        pairs[key] = value
    return pairs


def _told(name: str, default: object) -> str:
    match default:
        case bool():
            return f"{name} {str(default).lower()}"
        case None | {} | "":
            return name
        case int() | float() | str() | list():
            return f"{name} {default}"
        case _:
            kept = getattr(type(default), "model_fields", None)
            return f"{name}.* ({', '.join(kept)})" if kept else name
