"""What the shell may say of our connections: next to nothing.

libpq, below both clients, reads ``PG*`` variables behind its caller's back. Some of them lead a connection to another
server than its URL names (``PGHOSTADDR``, ``PGSERVICE``), others change what is sent over it (``PGOPTIONS``,
``PGCLIENTENCODING``). There is no keyword that keeps it from looking, so the variables themselves are taken out of
this process. For the dates and the time zone of a session, on the other hand, there is no keyword but only a variable:
those two are set. Both travel in the first message of a connection, ahead of what server, database and role say, and
poolers follow them.
"""

import os
import re

SESSION = {"PGDATESTYLE": "ISO, MDY", "PGTZ": "UTC"}
# How to sign in and to encrypt is a person's to say, where the URL does not.
_SIGN_IN = re.compile(r"PG(PASS|SSL|REQUIRE|CHANNELBINDING|GSS|KRB)")


def take_over() -> None:
    """Set our variables, and leave of the others only those about signing in and encryption."""
    _leave([*SESSION, *heeded()])
    os.environ.update(SESSION)


def forget() -> None:
    """Leave none: the embedded platform's database is reached just as its URL says."""
    _leave([])


def heeded() -> list[str]:
    """The variables in force that can be at fault where a connection fails, by name; some hold secrets."""
    return sorted(name for name in os.environ if _SIGN_IN.match(name))


def _leave(names: list[str]) -> None:
    for name in [name for name in os.environ if name.startswith("PG") and name not in names]:
        del os.environ[name]
