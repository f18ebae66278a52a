"""Addresses: where we listen, and what a tap forwards to."""

import re
from urllib.parse import urlsplit

PORTS = {"http": 80, "postgresql": 5432, "postgres": 5432}

Address = tuple[str, int]
_PORT = re.compile(r"[0-9]{1,5}")


def parse_upstream(url: str) -> tuple[str, Address]:
    """Protocol (``http`` or ``postgresql``) and address of an upstream, without its login. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in PORTS:
        raise ValueError("must look like http://host:port or postgresql://host:port (TLS cannot be read)")
    protocol = "http" if parts.scheme == "http" else "postgresql"
    return protocol, (host, port or PORTS[parts.scheme])


def parse_listen(listen: str) -> Address:
    """``host:port`` on loopback; port 0 is any that is free. Raises ValueError."""
    found = on_loopback(listen)
    if found is None:
        raise ValueError(f"must be a port on loopback, such as 127.0.0.1:54399, not {listen!r}")
    return found


def on_loopback(listen: str) -> Address | None:
    """``host:port`` of this machine alone; ``None`` where it is none."""
    host, _, port = listen.rpartition(":")
    if not _PORT.fullmatch(port) or int(port) > 65_535 or host not in ("127.0.0.1", "localhost", "[::1]"):
        return None
    return host.strip("[]"), int(port)


def address_text(address: Address) -> str:
    """``host:port``."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
