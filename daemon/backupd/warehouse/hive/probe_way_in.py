"""`check --probe` of the way to Hive and HDFS, a step a line: ticket, TCP, TLS, login, each server.

Every server is tried, also those that the daemon could do without.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.core.ports import Probe
from backupd.warehouse.hive.errors import hint, words_of
from backupd.warehouse.hive.servers import shown
from backupd.warehouse.hive.sql import who_probe
from backupd.warehouse.hive.transports import tls_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.sections import TlsSection
    from backupd.config.urls import Address
    from backupd.warehouse.hive.connection import HiveConnection
    from backupd.warehouse.hive.kerberos import Kerberos
    from backupd.warehouse.hive.staging import Staging
    from backupd.warehouse.hive.webhdfs import WebHdfs

_ANSWER_WITHIN = 10.0  # seconds


def probe_way_in(
    connection: HiveConnection, kerberos: Kerberos | None, staging: Staging
) -> list[Probe]:
    """Try each server as far as the login; failures are reported in the answer. Blocks."""
    return [
        *(_ticket(kerberos) if kerberos else ()),
        *_hives(connection),
        *(_name_nodes(staging.hdfs) if staging.hdfs else ()),
    ]


def _ticket(kerberos: Kerberos) -> Iterator[Probe]:
    subject = f"Kerberos {kerberos.principal}"
    try:
        seconds = kerberos.get_ticket()
    except OSError as error:
        yield _failed(subject, "ticket", error)
    else:
        yield Probe(subject, ok=True, detail=f"the KDC gave a ticket for {seconds} s")


def _hives(connection: HiveConnection) -> Iterator[Probe]:
    try:
        servers = connection.servers.in_turn()
    except OSError as error:
        yield _failed("HiveServer2", "ZooKeeper", error)
        return
    if not servers:
        problem = "none is registered in ZooKeeper"
        cure = "look whether one runs, and at warehouse.hive.zookeeper_namespace"
        yield Probe("HiveServer2", ok=False, detail=problem, hint=cure)
    yield from (_hive(connection, server) for server in servers)


def _hive(connection: HiveConnection, server: Address) -> Probe:
    subject, tls = f"HiveServer2 {shown(server)}", connection.login(server).tls
    done = []
    for step, attempt in (("TCP", _reach), ("TLS", _shake_hands)):
        try:
            done += attempt(server, tls)
        except OSError as error:
            return _failed(subject, step, error)
    try:
        connection.ready_at(server)
        ((user,),) = connection.run(who_probe())
    except BackupdError as error:
        return Probe(subject, ok=False, detail=f"login: {error}", hint=error.hint)
    return Probe(
        subject, ok=True, detail=", ".join([*done, f"logged in, current_user() is {user}"])
    )


def _reach(server: Address, _tls: TlsSection | None) -> list[str]:
    socket.create_connection(server, _ANSWER_WITHIN).close()
    return ["reached"]


def _shake_hands(server: Address, tls: TlsSection | None) -> list[str]:
    if tls is None:
        return []
    plain = socket.create_connection(server, _ANSWER_WITHIN)
    with plain, tls_context(tls).wrap_socket(plain, server_hostname=server[0]) as secure:
        return [f"{secure.version()} verified"]


def _name_nodes(hdfs: WebHdfs) -> Iterator[Probe]:
    for server in hdfs.servers.in_turn():
        subject = f"HDFS {shown(server)}"
        try:
            yield Probe(subject, ok=True, detail=hdfs.state_of(server))
        except OSError as error:
            yield _failed(subject, "WebHDFS", error)


def _failed(subject: str, step: str, error: OSError) -> Probe:
    words = words_of(error)
    return Probe(subject, ok=False, detail=f"{step}: {words}", hint=hint(words))
