"""How a booking attempt can end."""

from collections.abc import Mapping

CONFIRMED_OUTCOMES = ("confirmed_inline_api", "confirmed_inline_poll", "confirmed_background")
FAILED_OUTCOMES = (
    "failed_inline_terminal",
    "failed_inline_timeout",
    "failed_background_terminal",
    "failed_background_timeout",
    "api_timeout",
    "api_unreachable",
    "api_rejected",
    "api_error",
    "rate_limited",
    "aborted",
)
# The tables ran out: expected when a slot is filled to the brim, so neither success nor failure.
EXHAUSTED = "exhausted"
OUTCOMES = (*CONFIRMED_OUTCOMES, EXHAUSTED, *FAILED_OUTCOMES)


def in_words(outcomes: Mapping[str, int]) -> str:
    """``57 confirmed, 3 exhausted``: the confirmed ones as one and first, then the most frequent."""
    confirmed = sum(outcomes.get(name, 0) for name in CONFIRMED_OUTCOMES)
    others = sorted((-count, name) for name, count in outcomes.items() if name not in CONFIRMED_OUTCOMES)
    told = [f"{confirmed} confirmed"] if confirmed else []
    return ", ".join([*told, *(f"{-count} {name.replace('_', ' ')}" for count, name in others)])
