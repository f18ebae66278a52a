"""What must not leave the machine: customers' data, secrets, and where on a disk things lay."""

import re

# The mask is the platform's own: the first two characters and the last of an address are left.
_EMAIL = re.compile(r"(?<![\w.%+*-])([\w.%+-]+)@([\w-]+(?:\.[\w-]+)+)\b")
_PHONE = re.compile(r"(?<![\w.:-])(?:\+\d|0)[\d ()-]{7,}\d(?![\w.:-])")
_NAMED = re.compile(
    r"""(?ix) (["']? \b (?:customer_?|guest_?|full_?)? (?:name|phone|notes) \b ["']? \s* [:=] \s*)
    (?!["'][A-Z]\w*(?:Error|Exception)["'])  # name: 'AbortError' is a fact, not a person
    ("[^"]*"|'[^']*')"""
)
_SECRET = re.compile(
    r"""(?ix) (["']? \b \w* (?:password|passwd|secret|token|api_?key|service_role_key) ["']? \s* [:=] \s*)
    ("[^"]*"|'[^']*'|[^\s,;}]+)"""
)
_BEARER = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=Bearer )\S+")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s:@]+:[^@\s]+(?=@)")
_HOME = re.compile(r"(?:/(?:home|Users)/[^/\s'\"<>:]+|/root)(?=/)")


def mask(text: str) -> str:
    """The text with e-mail addresses, phone numbers, names, passwords, tokens and logins in URLs masked.

    Identifiers (UUIDs), instants and figures stay: they are what an excerpt is for.
    """
    text = _URL_LOGIN.sub("***:***", text)
    text = _SECRET.sub(r"\1***", text)
    text = _BEARER.sub("***", text)
    text = _NAMED.sub(r"\1'***'", text)
    text = _EMAIL.sub(_masked_address, text)
    return _PHONE.sub(_masked_phone, text)


def without_homes(text: str) -> str:
    """The text with the home directories of people replaced by ``~``."""
    return _HOME.sub("~", text)


def _masked_address(match: re.Match[str]) -> str:
    local, domain = match.groups()
    return f"{local[:2]}***{local[-1]}@{domain}"


def _masked_phone(match: re.Match[str]) -> str:
    return f"***{match.group()[-2:]}"
