"""What each request of a client carries beside its own: the headers of the parameters, and the CSRF token of now."""

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import unquote

import httpx

from slotfill.headers import Csrf


class Session:
    """One client's; ``headers`` hold secrets. The token is learnt from answers, and sent back from then on."""

    def __init__(self, headers: Mapping[str, str] | None = None, csrf: Csrf | None = None) -> None:
        self._headers = dict(headers or {})
        self._csrf = csrf
        self._token: str | None = None

    @property
    def page(self) -> str | None:
        """The path to ask first for a token, while there is none."""
        return self._csrf.page if self._csrf and self._token is None else None

    def apply(self, request: httpx.Request) -> None:
        """Put into a request's head what it has to carry."""
        request.headers.update(self._headers)
        if self._csrf and self._token is not None:
            cookies = [*filter(None, [request.headers.get("cookie")]), f"{self._csrf.cookie}={self._token}"]
            request.headers["cookie"] = "; ".join(cookies)
            request.headers[self._csrf.header] = unquote(self._token)

    def learn(self, response: httpx.Response) -> None:
        """Take a new token from an answer that sets one."""
        if self._csrf is None:
            return
        for text in response.headers.get_list("set-cookie"):
            try:
                cookie = SimpleCookie(text).get(self._csrf.cookie)
            except CookieError:
                continue
            # A token must not end its header: what came behind it would be one more, of the platform's making.
            if cookie is not None and unquote(cookie.value).isprintable():
                self._token = cookie.value
