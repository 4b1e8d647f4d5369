"""Reads and judges the files that logins to Hive, Impala and HDFS need, without a network."""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from backupd.config.keytab import principals
from backupd.config.mistakes import Mistake
from backupd.config.readers import BadValueError
from backupd.config.secrets import PLACE, read_file, read_password
from backupd.config.sections import KerberosSection, TlsSection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NO_TLS = TlsSection(ca_file=None, cert_file=None, key_file=None)
_KERBEROS_INSTALLED = (
    "the gssapi package: it is part of the Debian package, else pip install 'backupd[kerberos]'"
)


def read_hive_files(
    values: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[Mistake]
) -> dict[str, Any]:
    """Return `password` (text or None), `kerberos` (section or None), `hive_tls`, `impala_tls`.

    `values` are the whole config's. Only what is in use is looked at; what cannot be used is a
    mistake.
    """
    warehouse = values.get("warehouse", {})
    if warehouse.get("kind") != "hive":
        return {"password": None, "kerberos": None, "hive_tls": _NO_TLS, "impala_tls": _NO_TLS}
    hive, impala = (warehouse.get(name) or {} for name in ("hive", "impala"))
    asked = {hive.get("auth"), impala.get("auth")}
    return {
        "password": _password(hive, environ, mistakes) if "LDAP" in asked else None,
        "kerberos": _kerberos(values, "KERBEROS" in asked, environ, mistakes),
        "hive_tls": _tls("warehouse.hive", hive, environ, mistakes),
        "impala_tls": _tls("warehouse.impala", impala, environ, mistakes),
    }


def _password(
    hive: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[Mistake]
) -> str | None:
    """Return the password of `[warehouse.hive]`, which is Impala's too."""
    given, key = hive.get("password_file", ""), "warehouse.hive.password_file"
    if given is None:
        mistakes.append(Mistake(key, 'is missing, and auth = "LDAP" needs it', PLACE))
    if not given:
        return None
    try:
        return read_password(given, environ)
    except BadValueError as error:
        mistakes.append(Mistake(key, str(error), PLACE))
        return None


# ------------------------------------------------------------------ Kerberos


def _kerberos(
    values: Mapping[str, Any],
    needed: bool,
    environ: Mapping[str, str],
    mistakes: list[Mistake],
) -> KerberosSection | None:
    section = values.get("kerberos")
    if section is None:
        if needed:
            problem = 'is missing, and auth = "KERBEROS" needs it'
            mistakes.append(Mistake("kerberos", problem, "a section"))
        return None
    if find_spec("gssapi") is None:
        mistakes.append(Mistake("kerberos", "cannot be used here", _KERBEROS_INSTALLED))
    if section.keys() != {"principal", "keytab"}:
        return None  # reported where it was read
    try:
        return _with_key(section["principal"], section["keytab"], environ)
    except BadValueError as error:
        allowed = f"a keytab with a key of {section['principal']} that this user alone can read"
        mistakes.append(Mistake("kerberos.keytab", str(error), allowed))
        return None


def _with_key(principal: str, given: str, environ: Mapping[str, str]) -> KerberosSection:
    path, content = read_file(given, environ, secret=True)
    try:
        held = principals(content)
    except ValueError as error:
        raise BadValueError(f"names {path}, which {error}") from error
    if principal not in held:
        others = ", ".join(held) or "none"
        raise BadValueError(f"names {path}, which has no key of {principal}, but of: {others}")
    return KerberosSection(principal=principal, keytab=path)


# ------------------------------------------------------------------ TLS


def _tls(
    key: str, section: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[Mistake]
) -> TlsSection:
    ca_file, cert_file, key_file = (
        _tls_file(key, name, section.get(name), environ, mistakes)
        for name in ("tls_ca_file", "tls_cert_file", "tls_key_file")
    )
    if cert_file and key_file:
        _judge_pair(key, cert_file, key_file, mistakes)
    return TlsSection(ca_file=ca_file, cert_file=cert_file, key_file=key_file)


def _tls_file(
    key: str, name: str, given: str | None, environ: Mapping[str, str], mistakes: list[Mistake]
) -> Path | None:
    if given is None:
        return None
    try:
        path, _ = read_file(given, environ, secret=name == "tls_key_file")
        if name == "tls_ca_file":
            _judge_ca(path)
    except BadValueError as error:
        mistakes.append(Mistake(f"{key}.{name}", str(error), "a file in PEM format"))
        return None
    return path


def _judge_ca(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise BadValueError(f"names {path}, which holds no CA certificate") from error


def _judge_pair(key: str, cert_file: Path, key_file: Path, mistakes: list[Mistake]) -> None:
    try:
        # With a key that is encrypted, OpenSSL would ask for its password at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, lambda: "")
    except (OSError, ValueError):
        problem = f"names {cert_file}, which does not go with {key_file}"
        allowed = "a certificate in PEM format, and its key without a password"
        mistakes.append(Mistake(f"{key}.tls_cert_file", problem, allowed))
