"""A small WebHDFS on a directory, for the faults that no real one makes on demand.

A NameNode at one port sends clients that write or read a file to a DataNode at another, as a
cluster does; or all is at one port, as at HttpFS and Knox.
"""

from __future__ import annotations

import secrets
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

from support.http_login import HttpLogin, RefusedError
from support.http_serving import Answer, converse
from support.listener import Listener
from support.webhdfs_files import HdfsFiles, RemoteError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.http_serving import Request
    from support.tls import Tls

    Check = Callable[[str, Request], None]

State = Literal["active", "standby", "safe mode", "starting"]
Node = Literal["name", "data"]
When = Literal["before", "after"]  # it is done

_PREFIX = "/webhdfs/v1"
_SECOND = " data"  # ends the names of second steps
_READS = {"GETFILESTATUS", "LISTSTATUS", "OPEN"}
_AT_HTTPFS = {
    "FileNotFoundException": 404,
    "IllegalArgumentException": 400,
    "SecurityException": 401,
}
_OCTETS = "application/octet-stream"


class WebHdfsServer:
    """Serves a directory from `start` to `stop`; several may serve the same, as NameNodes in HA."""

    def __init__(self, directory: Path, tls: Tls | None = None) -> None:
        """`directory` stands for the root of HDFS. Without further settings anyone may log in."""
        self.name_node = Listener(partial(self._converse, "name"))
        self.data_node = Listener(partial(self._converse, "data"))
        self.name_node.tls = self.data_node.tls = tls
        self.state: State = "active"
        self.prefix = _PREFIX  # of all paths: Knox has a longer one
        self.httpfs = False  # redirects to itself, as HttpFS does
        self.delegation = False  # the DataNode wants the token of the redirect, and no login
        self.login = HttpLogin("hadoop.auth")  # used if it negotiates or has passwords
        self.refusals: dict[str, RemoteError] = {}  # by operation, until it is taken out
        self.asked: Counter[str] = Counter()  # by operation; "CREATE data" is its second step
        self._cuts: list[tuple[str, When]] = []
        self._tokens: set[str] = set()
        self._files = HdfsFiles(directory)

    @property
    def port(self) -> int:
        """Where the NameNode is."""
        return self.name_node.port

    def start(self) -> None:
        """Listen; after `stop` on the same ports again."""
        self.name_node.start()
        self.data_node.start()

    def stop(self) -> None:
        """Break all connections, as servers that were killed. Each node can be stopped alone."""
        self.name_node.stop()
        self.data_node.stop()

    def cut_at(self, operation: str, when: When) -> None:
        """Have the connection break, once, before or after the next operation of this name."""
        self._cuts.append((operation, when))

    # -- an answer -------------------------------------------------------------------------------

    def _converse(self, node: Node, connection: socket.socket) -> None:
        converse(connection, partial(self._respond, node))

    def _respond(self, node: Node, request: Request) -> Answer | None:
        if (self.name_node if node == "name" else self.data_node).silent:
            return None
        name = request.query.get("op", "").upper()
        if node == "data" or "data" in request.query:
            name += _SECOND
        self.asked[name] += 1
        self._perhaps_cut(name, "before")
        if node == "data":
            answer = self._answer(name, request, self._check_token)
        else:
            answer = self._answer_by_name_node(name, request)
        self._perhaps_cut(name, "after")
        return answer

    def _perhaps_cut(self, name: str, when: When) -> None:
        if (name, when) in self._cuts:
            self._cuts.remove((name, when))
            raise ConnectionAbortedError

    def _answer_by_name_node(self, name: str, request: Request) -> Answer:
        try:
            cookie = self._admit(request)
        except RefusedError as error:
            return self._refused(str(error))
        answer = self._answer(name, request, self._check_state)
        return replace(answer, headers={**answer.headers, **cookie})

    def _answer(self, name: str, request: Request, check: Check) -> Answer:
        if not f"{request.path}/".startswith(f"{self.prefix}/"):
            return Answer(404, b"not found")
        try:
            check(name, request)
            if refusal := self.refusals.get(name):
                raise refusal
            return self._carry_out(name, request.path.removeprefix(self.prefix), request)
        except RemoteError as error:
            return error.answer(self._own_status(error))

    def _carry_out(self, name: str, path: str, request: Request) -> Answer:
        match name:
            case "CREATE":
                return self._redirect(path, request)
            case "CREATE data":
                return self._create(path, request)
            case "OPEN" if not self.httpfs:
                self._files.find_file(path)
                return self._redirect(path, request)
        work = self._files.operations.get(name.removesuffix(_SECOND))
        if work is None:
            words = f'Invalid value for webhdfs parameter "op": {name}'
            raise RemoteError("IllegalArgumentException", words)
        return work(path, request.query)

    def _create(self, path: str, request: Request) -> Answer:
        if self.httpfs and request.headers.get("Content-Type") != _OCTETS:
            words = f"Data upload requests must have content-type set to '{_OCTETS}'"
            return Answer(400, words.encode())
        return self._files.create(path, request.query, request.body)

    def _redirect(self, path: str, request: Request) -> Answer:
        query = dict(request.query)
        node = self.data_node
        if self.httpfs or self.login.passwords is not None:
            node, query["data"] = self.name_node, "true"
        elif self.delegation:
            query["delegation"] = secrets.token_urlsafe(16)
            self._tokens.add(query["delegation"])
        scheme = "https" if node.tls else "http"
        place = f"{scheme}://{node.host}:{node.port}{self.prefix}{quote(path)}"
        return Answer(307, headers={"Location": f"{place}?{urlencode(query)}"})

    # -- a refusal -------------------------------------------------------------------------------

    def _own_status(self, error: RemoteError) -> int | None:
        """Return HttpFS's status: it takes most errors for its own."""
        return _AT_HTTPFS.get(error.kind, 500) if self.httpfs else None

    def _admit(self, request: Request) -> dict[str, str]:
        if self.login.negotiate is None and self.login.passwords is None:
            return {}
        return self.login.admit(request)

    def _refused(self, words: str) -> Answer:
        wanted = {"WWW-Authenticate": self.login.scheme}
        if self.login.negotiate is not None and words:  # what it cannot take is no missing login
            return Answer(403, words.encode())
        return Answer(401, b"Authentication required", wanted)

    def _check_token(self, _: str, request: Request) -> None:
        if not self.delegation:
            return
        if "Authorization" in request.headers:
            raise RemoteError("SecurityException", "a login beside the token")
        if request.query.get("delegation") not in self._tokens:
            words = "InvalidToken: token can't be found in cache"
            raise RemoteError("SecurityException", words)

    def _check_state(self, name: str, request: Request) -> None:
        if self.state == "starting":
            raise RemoteError("RetriableException", "Namenode is in startup mode")
        if name == "GETHOMEDIRECTORY":  # a standby knows it too
            return
        category = "READ" if name.removesuffix(_SECOND) in _READS else "WRITE"
        if self.state == "standby":
            words = f"Operation category {category} is not supported in state standby."
            raise RemoteError("StandbyException", words)
        if self.state == "safe mode" and category == "WRITE":
            words = f"Cannot change {request.path}. Name node is in safe mode."
            raise RemoteError("SafeModeException", words)


@contextmanager
def running_webhdfs(
    directory: Path, tls: Tls | None = None, count: int = 1
) -> Iterator[list[WebHdfsServer]]:
    """Start servers that share a directory, stop them in the end."""
    directory.mkdir(exist_ok=True)
    with ExitStack() as stack:
        servers = [WebHdfsServer(directory, tls) for _ in range(count)]
        for server in servers:
            server.start()
            stack.callback(server.stop)
        yield servers
