"""HDFS over HTTP: WebHDFS of one or several NameNodes, HttpFS, or a gateway such as Knox.

A request goes to the NameNode that answered last; where that is standby, starting or gone, to the
next one. One that may have been carried out is not repeated here: its caller looks first.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from ssl import SSLCertVerificationError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from fsspec.implementations.webhdfs import WebHDFS
from requests.auth import HTTPBasicAuth
from requests.exceptions import ChunkedEncodingError, ConnectTimeout, ReadTimeout
from requests.exceptions import ConnectionError as BrokenConnectionError
from urllib3.exceptions import MaxRetryError, NewConnectionError
from urllib3.exceptions import SSLError as TlsError

from backupd.warehouse.hive.errors import cut
from backupd.warehouse.hive.kerberos import KerberosError, Negotiate
from backupd.warehouse.hive.servers import Servers, shown
from backupd.warehouse.hive.transports import new_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.sections import StagingSection
    from backupd.config.urls import Address
    from backupd.warehouse.hive.kerberos import Kerberos

_DEADLINES = (10.0, 30.0)  # seconds: to connect, and between two bytes of an answer
_BROKEN = (BrokenConnectionError, ReadTimeout, ChunkedEncodingError)
_NOT_ACTIVE = {"StandbyException", "RetriableException", "SafeModeException"}
_OCTETS = {"Content-Type": "application/octet-stream"}  # HttpFS insists on it
_EVERYONE = 777  # decimal digits, as WebHDFS wants them


class NotActiveError(OSError):
    """A NameNode that carried nothing out: it is standby, starting or in safe mode."""


class NameNodeLostError(OSError):
    """A NameNode broke off: nobody knows whether it has carried the request out."""


class WebHdfs(WebHDFS):  # type: ignore[misc]  # fsspec has no types
    """fsspec's, with several servers, with logins and deadlines, and answers that are looked at."""

    cachable = False  # each has its own connections

    def __init__(self, section: StagingSection, kerberos: Kerberos | None) -> None:
        url = section.url
        self._section = section
        self._is_secure = url.scheme == "swebhdfs"
        self._kerberos = kerberos
        self.servers = Servers(lambda: url.servers)
        host, port = url.servers[0]
        # With Kerberos, or a password that a gateway checks, nobody says who he is.
        user = None if kerberos or section.password else section.username
        super().__init__(host, port, user=user)

    def _connect(self) -> None:
        section = self._section
        self.session = new_session(section.tls if self._is_secure else None)
        # fsspec gives no deadline, and a frozen server would hang for ever.
        self.session.request = partial(  # type: ignore[method-assign]
            self.session.request, timeout=_DEADLINES
        )
        self.session.hooks["response"].append(_refuse_inactive)
        if self._kerberos:
            self.session.auth = Negotiate(self._kerberos)
        elif section.password:
            login = (section.username.encode(), section.password.encode())
            self.session.auth = HTTPBasicAuth(*login)

    def _call(self, op: str, *args: object, **options: object) -> requests.Response:
        """Ask the servers in turn, until one carries it out or refuses it.

        Redirects are not followed here: `_follow` looks where they lead.
        """
        options["redirect"] = False
        failures = []
        for server in self.servers.in_turn():
            self.url = self._base(server)
            try:
                answer: requests.Response = super()._call(op, *args, **options)
            except (NotActiveError, KerberosError, *_BROKEN) as error:
                self.servers.leave(server)
                if not _was_not_sent(error):
                    message = f"{shown(server)}: the connection broke: {error}"
                    raise NameNodeLostError(message) from error
                failures.append(f"{shown(server)}: {cut(str(error))}")
            else:
                self.servers.use(server)
                return answer
        raise OSError("; ".join(failures))

    def _base(self, server: Address) -> str:
        scheme = "https" if self._is_secure else "http"
        return f"{scheme}://{shown(server)}{self._section.url.path_prefix}/webhdfs/v1"

    def _follow(
        self, method: str, answer: requests.Response, content: bytes | None = None
    ) -> requests.Response:
        """Go where the answer leads: to a DataNode, or back to the gateway."""
        if "Location" not in answer.headers:
            raise OSError(f"HTTP {answer.status_code}: the answer names no DataNode")
        place = self._apply_proxy(answer.headers["Location"])
        if self._is_secure and not place.startswith("https:"):
            raise OSError("the answer leads away from TLS, to a server without it")
        # The password is the gateway's, and nobody else's.
        login = _nobody if self._section.password and not _same_server(place, self.url) else None
        try:
            there = self.session.request(
                method, place, data=content, headers=_OCTETS, auth=login, allow_redirects=False
            )
        except _BROKEN as error:
            if self.servers.in_use:
                self.servers.leave(self.servers.in_use)
            raise NameNodeLostError(f"{urlsplit(place).netloc}: {error}") from error
        if there.status_code == requests.codes.not_found:
            raise FileNotFoundError(_message(there))
        if there.is_redirect or not there.ok:  # nobody knows where that would lead
            raise OSError(f"HTTP {there.status_code} {there.reason}: {_message(there)}")
        return there

    # ------------------------------------------------------------------ what is asked for

    def state_of(self, server: Address) -> str:
        """Return whether a server is active or standby. Raises OSError for anything else."""
        self.url = self._base(server)
        try:
            with _understanding():  # a standby answers to less
                super()._call("GETFILESTATUS", path="/", redirect=False).json()["FileStatus"]
        except NotActiveError as error:
            if "Standby" not in str(error):
                raise
            return "standby"
        except (ValueError, RuntimeError) as error:
            raise OSError(str(error)) from error
        return "active"

    def create(self, path: str, content: bytes) -> None:
        """Make a new file in one request: fsspec makes an empty one and appends."""
        answer = self._call("CREATE", "put", path, overwrite="false")
        self._follow("PUT", answer, content)

    def contents(self, path: str) -> bytes:
        """Return a file's content; fsspec takes an error's text for it."""
        answer = self._call("OPEN", path=path)
        if answer.is_redirect:
            answer = self._follow("GET", answer)
        return bytes(answer.content)

    def asked(self, operation: str, method: str, path: str, **options: str) -> bool:
        """Do something, and return whether it was done."""
        with _understanding():
            return bool(self._call(operation, method, path, **options).json()["boolean"])

    def info(self, path: str) -> dict[str, Any]:
        """Return what there is to know of a file or directory. Raises FileNotFoundError."""
        with _understanding():
            return dict(super().info(path))

    def names(self, path: str) -> list[str]:
        """Return the names in a directory. Raises FileNotFoundError."""
        with _understanding():
            return [found.rpartition("/")[2] for found in self.ls(path, detail=False)]

    def infos(self, path: str) -> dict[str, dict[str, Any]]:
        """Return what there is to know of all in a directory, by name. Raises FileNotFoundError."""
        with _understanding():
            found = self.ls(path, detail=True)
            return {str(each["name"]).rpartition("/")[2]: dict(each) for each in found}

    def make_directory(self, path: str) -> None:
        """Make a directory, with those above it, that everyone may write into."""
        self.mkdir(path)
        self.chmod(path, _EVERYONE)  # a mode given to MKDIRS goes through the server's umask


@contextmanager
def _understanding() -> Iterator[None]:
    """Have an answer in which it is not said what was asked for raised as an OSError."""
    try:
        yield
    except (LookupError, TypeError, requests.JSONDecodeError) as error:
        raise OSError("what answers does not speak WebHDFS") from error


def _refuse_inactive(answer: requests.Response, **_options: object) -> None:
    """Raise NotActiveError for the answer of a server that leaves it to another one."""
    if answer.status_code == requests.codes.service_unavailable:
        raise NotActiveError(f"HTTP 503 {answer.reason}")
    if (
        answer.status_code == requests.codes.forbidden
        and (name := _remote_exception(answer).get("exception")) in _NOT_ACTIVE
    ):
        raise NotActiveError(f"{name}: {_message(answer)}")


def _remote_exception(answer: requests.Response) -> dict[str, str]:
    try:
        return dict(answer.json()["RemoteException"])
    except (ValueError, KeyError, TypeError):
        return {}


def _message(answer: requests.Response) -> str:
    return cut(_remote_exception(answer).get("message") or answer.text)


def _was_not_sent(error: Exception) -> bool:
    """Return whether the server has not even seen the request, or has put it back."""
    if isinstance(error, NotActiveError | KerberosError | ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else None
    if isinstance(reason, TlsError):
        return isinstance(reason.args[0], SSLCertVerificationError)
    return isinstance(reason, NewConnectionError)


def _same_server(one: str, other: str) -> bool:
    return urlsplit(one)[:2] == urlsplit(other)[:2]


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Log in as nobody: requests takes None for the session's login."""
    return request
