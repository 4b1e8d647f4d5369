"""SASL's GSSAPI mechanism (RFC 4752), as thrift_sasl wants a client to be.

pure-sasl has one that frames nothing: it fails where the server protects what is sent.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from backupd.core.calls import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import gssapi

    from backupd.warehouse.hive.kerberos import Kerberos

_AUTH, _INTEGRITY, _CONFIDENTIALITY = 1, 2, 4  # layers; the server offers a sum of them
_LARGEST = 0xFFFFFF  # bytes that we take in a frame: three bytes say how many


class GssapiClient:
    """One login. Takes the lightest protection that the server offers: its qop decides."""

    def __init__(self, kerberos: Kerberos, service: str, host: str) -> None:
        self._begin: Callable[[], tuple[gssapi.SecurityContext, bytes]] = lambda: kerberos.begin(
            service, host
        )
        self._layer = _AUTH
        self._at_most = 0  # bytes that the server takes in a frame
        self._error = ""

    def getError(self) -> str:  # noqa: N802 - thrift_sasl's name
        """Return why a step failed."""
        return self._error

    def start(self, mechanism: str) -> tuple[bool, str, bytes]:
        """Return the first token. Raises KerberosError."""
        self._context, token = self._begin()
        return True, mechanism, token

    def step(self, challenge: bytes | str) -> tuple[bool, bytes]:
        """Answer the server: with tokens until both are known, then with a layer."""
        received = challenge if isinstance(challenge, bytes) else challenge.encode()
        return self._tried(lambda: self._answer(received))

    def encode(self, data: bytes) -> tuple[bool, bytes]:
        """Protect what is sent."""
        return (True, data) if self._layer == _AUTH else self._tried(lambda: self._framed(data))

    def decode(self, frame: bytes) -> tuple[bool, bytes]:
        """Take the protection from a frame, which begins with its length."""
        return self._tried(lambda: bytes(self._context.unwrap(frame[4:]).message))

    def _tried(self, work: Callable[[], bytes]) -> tuple[bool, bytes]:
        result, failure = outcome_of(work)
        self._error = str(failure or "")
        return failure is None, result or b""

    def _answer(self, challenge: bytes) -> bytes:
        if not self._context.complete:
            return self._context.step(challenge) or b""
        offer = bytes(self._context.unwrap(challenge).message)
        self._layer = next(
            each for each in (_AUTH, _INTEGRITY, _CONFIDENTIALITY, 0) if each & offer[0] == each
        )
        if not self._layer:
            raise ValueError(f"the server offers none of the known protections: {offer[0]}")
        largest = 0 if self._layer == _AUTH else _LARGEST
        choice = bytes([self._layer]) + largest.to_bytes(3, "big")
        self._at_most = self._wrap_limit(int.from_bytes(offer[1:4], "big"))
        return bytes(self._context.wrap(choice, False).message)

    def _wrap_limit(self, largest: int) -> int:
        if self._layer == _AUTH:
            return 0
        return int(self._context.get_wrap_size_limit(largest, self._layer == _CONFIDENTIALITY))

    def _framed(self, data: bytes) -> bytes:
        secret = self._layer == _CONFIDENTIALITY
        parts = (data[at : at + self._at_most] for at in range(0, len(data), self._at_most))
        tokens = (self._context.wrap(part, secret).message for part in parts)
        return b"".join(struct.pack(">I", len(token)) + token for token in tokens)
