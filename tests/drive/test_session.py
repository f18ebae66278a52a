"""What each request carries beside its own: headers of the parameters, and the CSRF token that answers set."""

import asyncio
from http.cookies import SimpleCookie

import httpx
import pytest

from slotfill.drive.client import Client
from slotfill.drive.session import Session
from slotfill.errors import BadInput
from slotfill.headers import Csrf

CSRF = Csrf(page="/book", cookie="token", header="X-Token")


def platform(request: httpx.Request) -> httpx.Response:
    """Sets a token on its page and a new one with every POST; it refuses a POST without the last one, sent twice."""
    if request.url.path == "/book":
        return httpx.Response(200, headers={"Set-Cookie": "token=first%3D; Path=/; HttpOnly"})
    sent = SimpleCookie(request.headers.get("cookie", ""))
    expected = request.headers["x-expected"]
    right = (
        "token" in sent and sent["token"].value == f"{expected}%3D" and request.headers.get("x-token") == f"{expected}="
    )
    return httpx.Response(201 if right else 403, headers={"Set-Cookie": "token=second%3D"})


async def send(client: Client, expected: str) -> int:
    request = httpx.Request("POST", "http://platform/api/bookings", headers={"x-expected": expected})
    return (await client.send(request, 1000)).status


def test_a_token_is_fetched_sent_back_and_follows_the_answers() -> None:
    async def drive() -> list[int]:
        client = Client(httpx.MockTransport(platform), Session({"Cookie": "consent=yes"}, CSRF))
        before = await send(Client(httpx.MockTransport(platform)), "first")
        await client.open_session("http://platform", 1000)
        return [before, await send(client, "first"), await send(client, "second")]

    assert asyncio.run(drive()) == [403, 201, 201]


@pytest.mark.parametrize("token", ["", "token=a%0d%0aX-Evil: 1", r'token="a\015\012X-Evil: 1"'])
def test_a_page_that_sets_no_token_is_bad_input(token: str) -> None:
    answer = httpx.Response(200, headers={"Set-Cookie": token} if token else {})
    client = Client(httpx.MockTransport(lambda request: answer), Session({}, CSRF))
    with pytest.raises(BadInput, match="csrf: /book answers 200 and sets no such cookie"):
        asyncio.run(client.open_session("http://platform", 1000))
