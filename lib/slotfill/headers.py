"""What a platform of others wants in each request beside ours: headers, cookies, and its double-submit CSRF token."""

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from slotfill.errors import BadInput

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(r"[\t\x20-\x7e]{0,4000}")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME = re.compile(r"auth|cookie|token|secret|key|session|csrf|xsrf|password", re.IGNORECASE)
_OURS = (
    *("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"),
    *("idempotency-key", "traceparent", "x-booking-flow-correlation"),
)


def _require_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError("has a name that is none of a header")
        if name.lower() in _OURS:
            raise ValueError(f"names {name}, which Slotfill sets itself")
        if not _VALUE.fullmatch(value):
            raise ValueError(f"{name}: holds characters that no header can have")
        if _SECRET_NAME.search(name) and not _VARIABLE.search(value):
            raise ValueError(
                f"{name}: run.json keeps what stands here; put the secret into the environment (or .env.local) and "
                "name it: ${MY_SECRET}"
            )
    return headers


def _require_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is no name of a cookie or header")
    return name


Headers = Annotated[dict[str, str], AfterValidator(_require_headers)]
TokenName = Annotated[str, AfterValidator(_require_name)]


class Csrf(BaseModel):
    """A double-submit token: ``page`` sets ``cookie``, and a POST sends its value back in ``header`` as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    page: str = Field("/", pattern=r"^/[\x21-\x7e]*$")
    cookie: TokenName
    header: TokenName


def resolve(headers: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """The headers with each ``${NAME}`` replaced by its value; they hold secrets from here on. Raises BadInput."""

    def value_of(found: re.Match[str]) -> str:
        name = found.group(1)
        value = environment.get(name, "")
        if not value or not _VALUE.fullmatch(value):
            problem = "is not set" if not value else "holds characters that no header can have"
            raise BadInput(f"headers: {name} {problem} in the environment or the environment file")
        return value

    return {name: _VARIABLE.sub(value_of, value) for name, value in headers.items()}
