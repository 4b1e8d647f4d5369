"""Several servers of which any will do: the order in which they are tried, and which is in use."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from backupd.config.hive import Transport
    from backupd.config.sections import HiveSection, LoginSection
    from backupd.config.urls import Address

_ANSWER_WITHIN = 10.0  # seconds, for ZooKeeper
_INSTANCE = "serverUri="
_KEPT = 100  # servers that are registered no more, and may still be asked about a statement


class Servers:
    """The servers that `find` returns; whoever was good last is tried first."""

    def __init__(self, find: Callable[[], Sequence[Address]]) -> None:
        self._find = find
        self._lost: list[Address] = []
        self.in_use: Address | None = None

    def others(self) -> int:
        """Return how many there are beside the one in use, or the one that was lost last."""
        known = self.in_use or (self._lost[-1] if self._lost else None)
        try:
            return len(set(self._find()) - {known})
        except OSError:
            return 0

    def in_turn(self) -> list[Address]:
        """Return the servers in the order in which they are to be tried. Raises as `find`."""
        found = list(dict.fromkeys(self._find()))
        self._lost = [each for each in self._lost if each in found]
        return sorted(found, key=self._rank)

    def use(self, server: Address) -> None:
        """Note that a server is good."""
        self.in_use = server
        if server in self._lost:
            self._lost.remove(server)

    def leave(self, server: Address) -> None:
        """Note that a server failed: the others are tried before it."""
        self._lost = [*(each for each in self._lost if each != server), server]
        if self.in_use == server:
            self.in_use = None

    def _rank(self, server: Address) -> tuple[bool, int]:
        lost_at = self._lost.index(server) if server in self._lost else -1
        return server != self.in_use, lost_at


def shown(server: Address) -> str:
    """Return a server as it stands in messages and in the ledger."""
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(text: str) -> Address:
    """Return the server that `shown` has written. Raises ValueError for anything else."""
    host, _, port = text.rpartition(":")
    if not host:
        raise ValueError(f"{text!r} is no host and port")
    return host.strip("[]"), int(port)


class HiveServers:
    """Where the HiveServer2s are, and how each is spoken to: as the config or ZooKeeper says."""

    def __init__(self, section: HiveSection) -> None:
        self._section = section
        self._logins: dict[Address, LoginSection] = {}

    def find(self) -> Sequence[Address]:
        """Return their addresses. Raises OSError while ZooKeeper cannot say."""
        if self._section.hosts:
            return self._section.hosts
        registered = self._registered()
        self._logins = {each: self._logins[each] for each in list(self._logins)[-_KEPT:]}
        self._logins |= registered
        return list(registered)

    def login(self, server: Address) -> LoginSection:
        """Return how to log in to a server, also to one that is registered no more.

        Raises OSError while ZooKeeper cannot say.
        """
        if self._section.zookeeper and server not in self._logins:
            self.find()
        return self._logins.get(server, self._section.login)

    def _registered(self) -> dict[Address, LoginSection]:
        """Return who is registered now. Raises OSError if nobody of those can be read."""
        found, unreadable = {}, []
        for name, content in self._nodes():
            try:
                server, login = _registration(name, content.decode(), self._section.login)
                found[server] = login
            except ValueError:
                unreadable.append(name)
        if unreadable and not found:
            raise OSError(f"ZooKeeper has a HiveServer2 that cannot be read: {unreadable[0]}")
        return found

    def _nodes(self) -> Iterator[tuple[str, bytes]]:
        namespace = f"/{self._section.zookeeper_namespace}"
        with self._zookeeper() as client:
            # Without a time, kazoo waits for ever while it connects anew.
            names = client.get_children_async(namespace).get(timeout=_ANSWER_WITHIN)
            for name in sorted(each for each in names if each.startswith(_INSTANCE)):
                with suppress(NoNodeError):  # it has ended just now
                    asked = client.get_async(f"{namespace}/{name}")
                    yield name, asked.get(timeout=_ANSWER_WITHIN)[0]

    @contextmanager
    def _zookeeper(self) -> Iterator[KazooClient]:
        quorum = ",".join(map(shown, self._section.zookeeper))
        client = KazooClient(quorum, timeout=_ANSWER_WITHIN, read_only=True)
        try:
            client.start(_ANSWER_WITHIN)
            yield client
        except NoNodeError as error:
            namespace = self._section.zookeeper_namespace
            message = f"no HiveServer2 has ever registered in ZooKeeper ({quorum}) at /{namespace}"
            raise OSError(message) from error
        except (KazooException, KazooTimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise OSError(f"ZooKeeper ({quorum}) does not answer: {reason}") from error
        finally:
            client.stop()
            client.close()


def _registration(name: str, content: str, login: LoginSection) -> tuple[Address, LoginSection]:
    """Read what a HiveServer2 has registered: `serverUri=host:port;...`, and its settings.

    A server that registers no settings, as before Hive 2, is spoken to as the config says; none can
    talk us out of TLS. Raises ValueError for what cannot be read.
    """
    server = address_of(name.removeprefix(_INSTANCE).partition(";")[0])
    settings = dict(pair.partition("=")[::2] for pair in content.split(";") if "=" in pair)
    mode = settings.get("hive.server2.transport.mode", login.transport).lower()
    asked = login.transport if mode == "all" else mode
    transport: Transport = "http" if asked == "http" else "binary"
    key = "hive.server2.thrift.http.port" if transport == "http" else "hive.server2.thrift.port"
    host = settings.get("hive.server2.thrift.bind.host") or server[0]
    service = login.kerberos_service_name
    if service in ("hive", "HTTP"):  # the usual one of either transport
        service = "HTTP" if transport == "http" else "hive"
    return (host, int(settings.get(key, server[1]))), replace(
        login,
        transport=transport,
        http_path=settings.get("hive.server2.thrift.http.path", login.http_path).strip("/"),
        kerberos_service_name=service,
        kerberos_host=login.kerberos_host or _principals_host(settings),
    )


def _principals_host(settings: dict[str, str]) -> str:
    """Return the host in the principal that a server registers; "" where it has none."""
    principal = settings.get("hive.server2.authentication.kerberos.principal", "")
    _, slash, rest = principal.partition("/")
    host = rest.partition("@")[0]
    return host if slash and host != "_HOST" else ""
