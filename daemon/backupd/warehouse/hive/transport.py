"""How HiveServer2 and Impala are spoken to: a socket, and a login by what the config says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyhive.sasl_compat import PureSASLClient
from thrift.transport.TTransport import TBufferedTransport
from thrift_sasl import TSaslClientTransport

if TYPE_CHECKING:
    from thrift.transport.TSocket import TSocket
    from thrift.transport.TTransport import TTransportBase

    from backupd.config.sections import HiveSection, ImpalaSection


def transport_over(socket: TSocket, section: HiveSection | ImpalaSection) -> TTransportBase:
    """Return the transport that speaks as `auth` says. The socket stays the caller's to close."""
    if section.auth == "NOSASL":
        return TBufferedTransport(socket)
    # With NONE the server believes any password, as long as there is one.
    password = section.password or "x"

    def client() -> PureSASLClient:
        return PureSASLClient(section.host, username=section.username, password=password)

    return TSaslClientTransport(client, "PLAIN", socket)
