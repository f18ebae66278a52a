"""The causes of an unanswered request, as httpx gives them in its two kinds of client."""

import asyncio
import socket
from collections.abc import Iterator

import httpx
import pytest

from slotfill.errors import BadInput
from slotfill.network_errors import describe_error, network_cause, require_usable_environment


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def ask(url: str, kind: str, timeout_s: float = 120) -> httpx.HTTPError:
    async def ask_async() -> None:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            await client.get(url)

    with pytest.raises(httpx.HTTPError) as failure:
        if kind == "async":
            asyncio.run(ask_async())
        else:
            httpx.get(url, timeout=timeout_s, trust_env=False)
    return failure.value


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_each_cause_is_named_in_words(kind: str, silent: str) -> None:
    assert describe_error(ask("http://127.0.0.1:1", kind)).startswith("refuses connections")
    assert describe_error(ask("http://platform.invalid", kind)).startswith("has a host name that does not resolve")
    assert describe_error(ask(silent, kind, timeout_s=0.2)).startswith("did not answer in time")


def test_a_cause_among_several_tried_addresses_is_found() -> None:
    tried = ExceptionGroup("multiple connection attempts failed", [ConnectionRefusedError(111, "Connect call failed")])
    try:
        raise httpx.ConnectError("All connection attempts failed") from tried
    except httpx.ConnectError as error:
        assert describe_error(error) == "refuses connections; is the server running there? (Connection refused)"


def test_an_unknown_cause_is_told_in_the_librarys_words() -> None:
    told = describe_error(httpx.RemoteProtocolError("Server disconnected without sending a response."))
    assert told == "does not answer (Server disconnected without sending a response.)"


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("certificate verify failed: certificate has expired (_ssl.c:1000)", "presents an expired certificate"),
        (
            "certificate verify failed: self-signed certificate",
            "presents a certificate that no trusted authority signed",
        ),
        ("certificate verify failed: unable to get local issuer certificate", "no trusted authority signed"),
        (
            "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'",
            "for another host",
        ),
        ("SSL error: certificate verify failed", "expired or that no trusted authority signed"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told_apart(text: str, meaning: str) -> None:
    assert meaning in (network_cause(text) or "")


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5h://127.0.0.1:9"),
        ("all_proxy", "socks4://user:hunter2@127.0.0.1:9"),
        ("HTTPS_PROXY", "http://[::1"),
        ("HTTP_PROXY", "proxy:99999"),
        ("NO_PROXY", "localhost,127.0.0.1,::1,[::1]"),
        ("no_proxy", "localhost,fe11::/16"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
def test_a_variable_that_no_client_can_use_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    clear_environment(monkeypatch)
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=f"the environment's {name} cannot be used") as caught:
        require_usable_environment()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PROXY", "http://user:hunter2@proxy.example:3128"),
        ("HTTPS_PROXY", "proxy.example:3128"),
        ("NO_PROXY", "localhost, 127.0.0.1,10.0.0.0/8,::1,.example.com,*"),
    ],
)
def test_a_usual_variable_is_let_pass(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    clear_environment(monkeypatch)
    monkeypatch.setenv(name, value)
    require_usable_environment()
