"""What is said about a statement or about what a server or library answered. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 500  # characters of a server's message; it may be a whole Java stack
_SECRET = re.compile(r"""(delegation|token)(\s*=\s*["']?|%3D)[^&\s'")]+""", re.IGNORECASE)

# What a server's or library's words mean, and what to do. The first that is found counts.
_MEANINGS = {
    r"No credentials cache found|No Kerberos credentials|Client.*keytab": (
        "libkrb5 gets no ticket by the keytab",
        "look whether [kerberos] keytab can be read and holds a key of the principal: klist -kt",
    ),
    r"Preauthentication failed|Decrypt integrity check failed": (
        "the keytab's key is older than the one that the KDC has",
        "have the keytab written anew (a systemd credential is read at the next start)",
    ),
    r"Client '?\S+ not found in Kerberos database|CLIENT_NOT_FOUND": (
        "the KDC does not know the principal",
        "correct [kerberos] principal, or have it created",
    ),
    r"entry in database has expired|Client's .* expired|password has expired": (
        "the principal has expired at the KDC",
        "have it extended there",
    ),
    r"Server '?\S+ not found in Kerberos database": (
        "the KDC knows no such service",
        "the host (a name, no IP address), kerberos_host and kerberos_service_name make its name",
    ),
    r"Cannot contact any KDC|KDC (does not|has not) answer": (
        "the KDC does not answer",
        "look whether it runs, and at the realm's kdc lines in /etc/krb5.conf",
    ),
    r"Cannot find KDC for realm": (
        "no KDC of this realm is known here",
        "name it in /etc/krb5.conf, or in DNS",
    ),
    r"default realm": (
        "this host has no /etc/krb5.conf, or one without a default realm",
        "have it written: realm, KDCs and domain_realm",
    ),
    r"Clock skew too great": (
        "the clocks of this host, the server and the KDC differ by minutes",
        "set them right: timedatectl, chrony",
    ),
    r"Request is a replay": (
        "the server takes the login for a copied one",
        "look whether clocks jump, or a proxy sends requests twice",
    ),
    r"GSS initiate failed": (
        "the server cannot accept our ticket",
        "look into its log: its keytab does not fit its principal, or its clock is off",
    ),
    r"Unsupported mechanism type PLAIN": (
        "the server wants Kerberos",
        'set auth = "KERBEROS" and [kerberos]',
    ),
    r"Unsupported mechanism type GSSAPI": (
        "the server does not offer Kerberos",
        "set auth to what its hive.server2.authentication says",
    ),
    r"inactive HS2 instance": (
        "the server is stopping",
        "wait, or name its successor in hosts",
    ),
    r"Hostname mismatch|IP address mismatch|doesn't match": (
        "the server's certificate is for another name",
        "name the host as the certificate does, or have the server given the right one",
    ),
    r"self-signed certificate|self signed certificate|unable to get local issuer": (
        "the server's certificate is by a CA that is not trusted here",
        "name a file with that CA's certificate in tls_ca_file",
    ),
    r"certificate has expired|certificate is not yet valid": (
        "the server's certificate is not valid today",
        "have it renewed, or set this host's clock right",
    ),
    r"WRONG_VERSION_NUMBER|wrong version number|record layer failure|UNEXPECTED_EOF": (
        "the server's port does not speak TLS",
        "look at the port, else set tls = false (webhdfs:// for swebhdfs://)",
    ),
    r"certificate required|CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE|handshake failure": (
        "the server asks for a client certificate, or does not accept ours",
        "set tls_cert_file and tls_key_file",
    ),
    r"handshake operation timed out": (
        "the server took the connection and does not answer to TLS",
        "look whether it hangs, and whether the port is right",
    ),
    r"BadStatusLine|Remote end closed|RemoteDisconnected": (
        "the server closed the connection: its port speaks TLS, or no HTTP",
        'look at the port, at tls and at transport = "http"',
    ),
    r"error code 49|Error validating|AuthenticationException": (
        "the server does not accept the user or the password",
        "correct warehouse.hive.username or what password_file holds",
    ),
    r"Authorization header received from the client is empty|Not a valid authentication method": (
        "the server wants another kind of login",
        "set auth to what its hive.server2.authentication says",
    ),
    r"HTTP 40[45]": (
        "there is no HiveServer2 at this path",
        "set http_path to its hive.server2.thrift.http.path",
    ),
    r"HTTP 401|401 Client Error|Authentication required": (
        "the server wants another login",
        "with Kerberos set [kerberos]; else look at auth, username and password_file",
    ),
    r"Bad status: 3": (
        "the server refused the login",
        "see that warehouse.hive.username and password_file are what it wants",
    ),
    r"read 0 bytes|Connection reset by peer": (
        "the server closed the connection without a word",
        "look whether it runs, and whether auth, tls and transport are what it expects",
    ),
    r"can't be found in cache|InvalidToken": (
        "HDFS does not know its own token any more",
        "nothing, the next try gets a new one; if it stays, restart the NameNode's clients",
    ),
    r"not allowed to impersonate": (
        "the gateway may not act for this user",
        "have hadoop.proxyuser.* set for the gateway's user on the NameNode",
    ),
    r"safe mode|SafeMode": (
        "the NameNode is in safe mode",
        "wait until it has seen its blocks: hdfs dfsadmin -safemode get",
    ),
    r"does not speak WebHDFS|names no DataNode": (
        "something else answers there, maybe a page to log in at",
        "look at the hosts and ports in staging_url, and at path_prefix",
    ),
    r"RetriableException|startup mode": (
        "the NameNode is starting",
        "wait until it has read its image and seen its blocks",
    ),
    r"StandbyException|not supported in state standby": (
        "the NameNode is standby",
        "name the other one in staging_url too: webhdfs://nn1:9870,nn2:9870/path",
    ),
    r"Table not found": (
        "the table is not there",
        "`backupd check --ddl` prints the statement that makes it",
    ),
    r"failed to resolve|Name or service not known|NameResolutionError": (
        "the host's name is not known here",
        "correct it, or look at DNS",
    ),
    r"Connection refused|Could not connect": (
        "nothing listens there",
        "look whether the server runs, and whether host and port are right",
    ),
    r"timed out|(read|connect) timeout": (
        "the server does not answer in time",
        "look whether it hangs, and whether a firewall lies between",
    ),
}
_ELSE = "docs/hive.md says what backupd needs there"


class ServerLostError(DependencyDownError):
    """The server in use broke off: another may go on. Nobody knows how far it had come."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(Dependency.WAREHOUSE, message, hint=hint)


class StatementEndedError(DependencyDownError):
    """A statement failed, and the server says that it has ended: it does nothing more."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(Dependency.WAREHOUSE, message, hint=hint)


def verb(statement: str) -> str:
    """Return the first two words of a statement, which say what it was to do."""
    return " ".join(statement.split(maxsplit=2)[:2])


def words_of(error: BaseException) -> str:
    """Return what the server or the library said, the cause with it."""
    first = error.args[0] if error.args else None
    status = getattr(first, "status", None)
    if status is not None:
        return cut(status.errorMessage)
    words = cut(getattr(error, "message", None) or str(error)) or type(error).__name__
    inner = getattr(error, "inner", None)  # of thrift's errors
    return f"{words}: {cut(str(inner))}" if inner else words


def cut(message: str | None) -> str:
    """Return the message's first line, which holds the cause, cut where it is long.

    What stands in it of a token is left out.
    """
    line = (message or "the server gives no reason").strip().partition("\n")[0]
    line = _SECRET.sub(r"\1=...", line)
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."


def hint(words: str, otherwise: str = _ELSE) -> str:
    """Return what they mean in plain words, and what to do; `otherwise` for what is not known."""
    return next(_hints(words), otherwise)


def _hints(words: str) -> Iterator[str]:
    for pattern, (cause, cure) in _MEANINGS.items():
        if re.search(pattern, words):
            yield f"{cause}: {cure}"
