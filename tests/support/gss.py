"""A client's side of Kerberos, independent of the product's: who one is, and handshakes.

It needs the package gssapi, and looks for it when it is used: most tests run without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def _gssapi() -> Any:  # noqa: ANN401 - it may not be there
    return import_module("gssapi")


class Identity:
    """Who one is: a principal with its keytab. Tickets are got, and got anew, by themselves."""

    def __init__(self, principal: str, keytab: Path) -> None:
        self._principal = principal
        self._keytab = keytab

    def context(self, service: str, host: str, mechanism: str = "") -> Any:  # noqa: ANN401 - gssapi's
        """Return the beginning of a handshake with a service, by Kerberos or another mechanism."""
        gssapi = _gssapi()
        target = gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)
        kind = gssapi.OID.from_int_seq(mechanism) if mechanism else gssapi.MechType.kerberos
        return gssapi.SecurityContext(
            name=target, creds=self.credentials(), usage="initiate", mech=kind
        )

    def credentials(self) -> Any:  # noqa: ANN401 - gssapi's
        """Return what proves it, with tickets that are good yet."""
        gssapi = _gssapi()
        name = gssapi.Name(self._principal, gssapi.NameType.kerberos_principal)
        # One cache for each keytab: another KDC's tickets are of no use.
        store = {"client_keytab": str(self._keytab), "ccache": f"MEMORY:{self._keytab}"}
        return gssapi.Credentials(name=name, usage="initiate", store=store)
