"""Kerberos by a keytab: neither kinit nor environment variables are needed.

Credentials are made for each login. libkrb5 keeps the tickets in a cache in memory, and gets new
ones by the keytab when half their time is over: what is kept longer than a login would expire.

The calls that may ask the KDC cannot be interrupted, and take minutes when it is frozen. Each has a
thread of its own, which is left behind when it is late.
"""

from __future__ import annotations

import base64
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from requests import codes
from requests.auth import AuthBase

from backupd.core.calls import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import gssapi
    from requests import PreparedRequest, Response

    from backupd.config.sections import KerberosSection

T = TypeVar("T")

_ANSWER_WITHIN = 20.0  # seconds: several KDCs that are down are tried one after the other
_LOOK_EVERY = 0.1  # seconds
_SPNEGO = "1.3.6.1.5.5.2"
_COOKIES = ("hadoop.auth=", "hive.server2.auth=")  # each stands for a login


class KerberosError(OSError):
    """No ticket, or one that is not accepted. Says why in libkrb5's words."""


class Kerberos:
    """Logs in as the principal that the config names, at any service."""

    def __init__(self, section: KerberosSection, gave_up: threading.Event) -> None:
        """`gave_up` ends what waits for the KDC."""
        self._section = section
        self._gave_up = gave_up
        self._asked: Future[Any] | None = None  # what was asked last

    @property
    def principal(self) -> str:
        """Who logs in."""
        return self._section.principal

    @property
    def user(self) -> str:
        """The principal's name alone, which is the user in HDFS unless the cluster maps it."""
        return self.principal.partition("@")[0].partition("/")[0]

    def begin(self, service: str, host: str) -> tuple[gssapi.SecurityContext, bytes]:
        """Return a context for SASL with the service on a host, and the first token to send it.

        Raises KerberosError, within seconds also when the KDC does not answer.
        """
        return self._ask(lambda: self._begun(service, host, spnego=False))

    def negotiate(self, service: str, host: str) -> str:
        """Return what is to stand in an HTTP Authorization header. Raises as `begin`."""
        _, token = self._ask(lambda: self._begun(service, host, spnego=True))
        return f"Negotiate {base64.b64encode(token).decode()}"

    def get_ticket(self) -> int:
        """Have the KDC give us a ticket; return for how many seconds. Raises as `begin`."""
        return self._ask(lambda: int(self._credentials().lifetime))

    # ------------------------------------------------------------------ in a thread of its own

    def _ask(self, call: Callable[[], T]) -> T:
        """Make a call that may wait for the KDC, but do not wait for ever."""
        if self._asked and not self._asked.done():
            raise KerberosError("the KDC has not answered an earlier question yet")
        asked: Future[T] = Future()
        self._asked = asked
        threading.Thread(target=_make, args=(call, asked), name="kerberos", daemon=True).start()
        deadline = time.monotonic() + _ANSWER_WITHIN
        while not asked.done():
            if self._gave_up.is_set():
                raise KerberosError("backupd stops")
            if time.monotonic() > deadline:
                raise KerberosError(f"the KDC does not answer within {_ANSWER_WITHIN:.0f} s")
            wait([asked], _LOOK_EVERY)
        return asked.result()

    def _begun(
        self, service: str, host: str, *, spnego: bool
    ) -> tuple[gssapi.SecurityContext, bytes]:
        import gssapi  # noqa: PLC0415 - an extra: only who uses Kerberos has it

        flag = gssapi.RequirementFlag
        context = gssapi.SecurityContext(
            name=gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service),
            creds=self._credentials(),
            usage="initiate",
            mech=gssapi.OID.from_int_seq(_SPNEGO) if spnego else gssapi.MechType.kerberos,
            flags=[]
            if spnego
            else [flag.mutual_authentication, flag.integrity, flag.confidentiality],
        )
        return context, context.step() or b""

    def _credentials(self) -> gssapi.Credentials:
        import gssapi  # noqa: PLC0415 - see above

        principal = self._section.principal
        return gssapi.Credentials(
            name=gssapi.Name(principal, gssapi.NameType.kerberos_principal),
            usage="initiate",
            store={
                "client_keytab": str(self._section.keytab),
                "ccache": f"MEMORY:backupd {principal}",
            },
        )


def _make(call: Callable[[], Any], answer: Future[Any]) -> None:
    result, failure = outcome_of(call)
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(KerberosError(_reason(failure)))


def _reason(error: Exception) -> str:
    """Return what libkrb5 says, without what GSSAPI says about it."""
    code = getattr(error, "min_code", 0)
    if not code:
        return str(error)
    return "; ".join(error.get_all_statuses(code, False))  # type: ignore[attr-defined]  # GSSError


class Negotiate(AuthBase):
    """Logs in over HTTP by Kerberos (SPNEGO), once for as long as the server's cookie is good.

    The token goes with the request: these servers ask for it anyhow. A URL with a delegation token
    needs no other login.
    """

    def __init__(self, kerberos: Kerberos, service: str = "HTTP", host: str = "") -> None:
        """`host` is the server's in Kerberos, where it is not the URL's."""
        self._kerberos = kerberos
        self._service = service
        self._host = host

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Log in where no cookie stands for a login."""
        if "delegation=" in (request.url or ""):
            return request
        if not any(name in request.headers.get("Cookie", "") for name in _COOKIES):
            request.headers["Authorization"] = self._token(request)
        request.register_hook("response", self._again)
        return request

    def _token(self, request: PreparedRequest) -> str:
        host = self._host or urlsplit(request.url or "").hostname or ""
        return self._kerberos.negotiate(self._service, host)

    def _again(self, answer: Response, **options: Any) -> Response:  # noqa: ANN401 - requests' own
        """Log in again where a cookie has run out."""
        is_refused = answer.status_code == codes.unauthorized
        if not is_refused or "Authorization" in answer.request.headers:
            return answer
        _ = answer.content  # read to its end, the connection can be used again
        answer.close()
        request = answer.request.copy()
        request.headers.pop("Cookie", None)
        request.headers["Authorization"] = self._token(request)
        second = answer.connection.send(request, **options)
        second.history.append(answer)
        second.request = request
        return second
