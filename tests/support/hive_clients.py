"""The smallest clients of HiveServer2, for tests of the scriptable one."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import requests
from impala._thrift_gen.ImpalaService import ImpalaHiveServer2Service
from pyhive.sasl_compat import PureSASLClient
from TCLIService import ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TMemoryBuffer
from thrift_sasl import TSaslClientTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

OPEN_SESSION = ttypes.TOpenSessionReq(username="backupd")
_PATIENCE = 30.0  # seconds


@contextmanager
def binary_client(
    port: int, context: ssl.SSLContext | None = None, mechanism: str = "PLAIN"
) -> Iterator[Any]:
    """Log in to the binary transport, in TLS where there is a context."""
    host = "127.0.0.1"
    carrier = TSocket(host, port)
    carrier.setTimeout(_PATIENCE * 1000)
    carrier.open()
    try:
        if context:
            carrier.handle = context.wrap_socket(carrier.handle, server_hostname=host)
        transport = TSaslClientTransport(
            lambda: PureSASLClient(host, username="backupd", password="sesame"), mechanism, carrier
        )
        transport.open()
        yield ImpalaHiveServer2Service.Client(TBinaryProtocol(transport))
    finally:
        carrier.close()


class HttpClient:
    """Calls over HTTP; `session` keeps connections, headers and cookies."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.url = f"{scheme}://127.0.0.1:{port}/cliservice"
        self.session = requests.Session()
        self.session.trust_env = False
        self.timeout = _PATIENCE

    def call(self, name: str, request: object, login: str | None = None) -> Any:
        """Return the answer to a call; `login` is a header. Raises requests' errors."""
        asked = TMemoryBuffer()
        getattr(ImpalaHiveServer2Service.Client(TBinaryProtocol(asked)), f"send_{name}")(request)
        answer = self.session.post(
            self.url,
            data=asked.getvalue(),
            timeout=self.timeout,
            headers={"Authorization": login} if login else {},
        )
        answer.raise_for_status()
        answered = TBinaryProtocol(TMemoryBuffer(answer.content))
        return getattr(ImpalaHiveServer2Service.Client(answered), f"recv_{name}")()
