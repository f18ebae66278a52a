"""What a client may ask for, and how a wrong request is answered: in the words of the platform's validator."""

import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
    ValidationError,
)
from pydantic_core import ErrorDetails

Name = Annotated[str, StringConstraints(min_length=2, max_length=120, strip_whitespace=True)]
Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$", strip_whitespace=True, to_lower=True)
]
Phone = Annotated[str, StringConstraints(min_length=7, max_length=50, strip_whitespace=True)]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class BookingRequest(BaseModel):
    """The body of ``POST /api/bookings``; fields it does not know are ignored, as the platform does."""

    model_config = ConfigDict(frozen=True)

    restaurant_slug: str | None = Field(None, validation_alias="restaurantSlug", min_length=1)
    restaurant_id: str | None = Field(None, validation_alias="restaurantId", pattern=r"^[0-9a-fA-F-]{36}$")
    date: Day
    time: Clock
    party: StrictInt = Field(ge=1)
    booking_type: Literal["lunch", "dinner", "drinks"] = Field(validation_alias="bookingType")
    seating: Literal["any", "indoor", "outdoor"] = "any"
    notes: str | None = Field(None, max_length=500)
    name: Name
    email: Email
    phone: Phone
    marketing_opt_in: StrictBool = Field(False, validation_alias="marketingOptIn")

    @property
    def day(self) -> datetime.date:
        return datetime.date.fromisoformat(self.date)

    @property
    def clock(self) -> datetime.time:
        return datetime.time.fromisoformat(self.time)


class InvalidPayload(Exception):
    """The body is not a booking request; ``details`` is the answer's."""

    def __init__(self, details: dict[str, Any]) -> None:
        super().__init__("Invalid payload")
        self.details = details


def parse(payload: Any) -> BookingRequest:
    """The request in a decoded body. Raises InvalidPayload."""
    try:
        request = BookingRequest.model_validate(payload)
    except ValidationError as error:
        raise InvalidPayload(_flatten(error)) from None
    if not request.restaurant_slug and not request.restaurant_id:
        raise InvalidPayload(_details(restaurantSlug=["Required"]))
    try:
        request.day  # noqa: B018  a date such as 2026-02-30 has the right form and does not exist
    except ValueError:
        raise InvalidPayload(_details(date=["Invalid date"])) from None
    return request


def _details(*form_errors: str, **field_errors: list[str]) -> dict[str, Any]:
    return {"formErrors": list(form_errors), "fieldErrors": field_errors}


def _flatten(error: ValidationError) -> dict[str, Any]:
    fields: dict[str, list[str]] = {}
    for item in error.errors(include_url=False):
        if not item["loc"]:
            return _details(f"Expected object, received {_kind(item['input'])}")
        fields.setdefault(str(item["loc"][0]), []).append(_wording(item))
    return _details(**fields)


def _wording(item: ErrorDetails) -> str:
    context = item.get("ctx", {})
    match item["type"]:
        case "missing":
            return "Required"
        case "string_too_short":
            return f"String must contain at least {context['min_length']} character(s)"
        case "string_too_long":
            return f"String must contain at most {context['max_length']} character(s)"
        case "string_pattern_mismatch":
            return "Invalid email" if item["loc"][0] == "email" else "Invalid"
        case "greater_than_equal":
            return f"Number must be greater than or equal to {context['ge']}"
        case "literal_error":
            expected = " | ".join(context["expected"].replace(" or ", ", ").split(", "))
            return f"Invalid enum value. Expected {expected}, received '{item['input']}'"
        case "int_type":
            return f"Expected number, received {_kind(item['input'])}"
        case "bool_type":
            return f"Expected boolean, received {_kind(item['input'])}"
        case _:
            return f"Expected string, received {_kind(item['input'])}"


def _kind(value: Any) -> str:
    """The name JavaScript gives a decoded JSON value."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return "null" if value is None else names[type(value)]
