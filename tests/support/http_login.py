"""Logins over HTTP: by a password or a scripted SPNEGO, and then by a cookie."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.http_serving import Request

Verdict = bool | str  # let in, or not; or not, with these words
Tokens = Mapping[bytes, Verdict] | Callable[[bytes], Verdict]


class RefusedError(Exception):
    """A login is refused; the words are "" where there was none."""


class HttpLogin:
    """Asks for a header, whose kind the settings say, or for a cookie that it gave before."""

    def __init__(self, cookie: str) -> None:
        """`cookie` is its name."""
        self.negotiate: Tokens | None = None  # asks for tokens of SPNEGO instead of passwords
        self.passwords: Mapping[str, str] | None = None  # None: anyone may log in
        self.logins = 0  # by header
        self._cookie = cookie
        self._given: set[str] = set()

    @property
    def scheme(self) -> str:
        """What it asks for, as the header WWW-Authenticate tells it."""
        return 'Basic realm="backupd"' if self.negotiate is None else "Negotiate"

    def expire_cookies(self) -> None:
        """Have all clients log in again."""
        self._given.clear()

    def admit(self, request: Request) -> dict[str, str]:
        """Let a client in; return what the answer's headers say of it. Raises RefusedError."""
        cookies = request.headers.get("Cookie", "")
        if any(given in cookies for given in self._given):
            return {}
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if not kind:
            raise RefusedError
        if kind != self.scheme.partition(" ")[0]:
            raise RefusedError("Not a valid authentication method")
        self._check(b64decode(token))
        self.logins += 1
        secret = secrets.token_hex(16)
        self._given.add(secret)
        return {"Set-Cookie": f'{self._cookie}="s={secret}"; Path=/; HttpOnly'}

    def _check(self, token: bytes) -> None:
        if self.negotiate is not None:
            ask = self.negotiate if callable(self.negotiate) else self.negotiate.get
            verdict = ask(token)
            if verdict is not True:
                raise RefusedError(verdict or "")
        elif self.passwords is not None:
            user, _, password = token.decode().partition(":")
            if self.passwords.get(user) != password:
                raise RefusedError(f"user {user}")


def basic(user: str, password: str) -> str:
    """Return the header Authorization that a client logs in with by password."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def negotiate(token: bytes) -> str:
    """Return the same for a token of SPNEGO."""
    return f"Negotiate {b64encode(token).decode()}"
