"""HiveServer2's HTTP transport: a call is a POST, whoever sends it and over which connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thrift.transport.TTransport import TMemoryBuffer, TTransportException

from support.hive_calls import HiveProtocol, processor
from support.http_login import HttpLogin, RefusedError
from support.http_serving import Answer

if TYPE_CHECKING:
    from support.hive_server import HiveServer
    from support.http_serving import Request

_NO_LOGIN = "Authorization header received from the client is empty."
_LDAP_REFUSES = (
    "javax.security.sasl.AuthenticationException: Error validating LDAP {} [Caused by "
    "javax.naming.AuthenticationException: [LDAP: error code 49 - Invalid Credentials]]"
)


class HiveHttp:
    """What the HTTP transport of one server adds to it. A cookie stands for a login."""

    def __init__(self, server: HiveServer) -> None:
        """Logins are checked against the server's passwords, unless `login` negotiates."""
        self.path = "cliservice"
        self.requests = 0
        self.login = HttpLogin("hive.server2.auth")
        self._server = server

    def respond(self, request: Request) -> Answer | None:
        """Answer one request: see `http_serving.converse`."""
        if self._server.silent:
            return None
        self.requests += 1
        below = f"{request.path}/".startswith(f"/{self.path}/")  # PyHive adds a slash
        if request.method != "POST" or not below:
            return Answer(405, b"HTTP method is not supported by this URL")
        self.login.passwords = self._server.passwords
        try:
            headers = self.login.admit(request)
        except RefusedError as error:
            return self._refused(str(error))
        asked, answered = TMemoryBuffer(request.body), TMemoryBuffer()
        try:
            processor(self._server).process(HiveProtocol(asked), HiveProtocol(answered))
        except TTransportException as error:
            raise ConnectionAbortedError from error
        headers["Content-Type"] = "application/x-thrift"
        return Answer(200, answered.getvalue(), headers)

    def _refused(self, words: str) -> Answer:
        if self.login.negotiate is None:
            words = words and _LDAP_REFUSES.format(words)
        text = f"Authentication Error: {words or _NO_LOGIN}\n".encode()
        return Answer(401, text, {"WWW-Authenticate": self.login.scheme})
