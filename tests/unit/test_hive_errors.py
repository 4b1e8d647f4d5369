"""What servers and libraries say is explained, and what is secret in it is left out."""

from __future__ import annotations

import pytest
from thrift.transport.TTransport import TTransportException

from backupd.warehouse.hive.errors import cut, hint, words_of

# Words as they were seen, the cause and the cure that they mean.
KERBEROS = [
    (
        (
            "Major (458752): No credentials were supplied, or the credentials were unavailable or "
            "inaccessible, Minor (2529639053): No credentials cache found"
        ),
        "gets no ticket by the keytab",
        "klist -kt",
    ),
    (
        "Client's credentials have been revoked: no key in keytab",
        "gets no ticket by the keytab",
        "klist -kt",
    ),
    ("Preauthentication failed", "older than the one that the KDC has", "keytab written anew"),
    (
        "Decrypt integrity check failed",
        "older than the one that the KDC has",
        "keytab written anew",
    ),
    (
        "Client 'backupd@EXAMPLE' not found in Kerberos database",
        "does not know the principal",
        "[kerberos] principal",
    ),
    ("Client's entry in database has expired", "principal has expired", "extended"),
    (
        "Server hive/10.0.0.1@EXAMPLE not found in Kerberos database",
        "knows no such service",
        "kerberos_service_name",
    ),
    ("Bad status: 3 (b'GSS initiate failed')", "cannot accept our ticket", "its log"),
    (
        "Bad status: 3 (b'Unsupported mechanism type PLAIN')",
        "wants Kerberos",
        'auth = "KERBEROS"',
    ),
    (
        "Bad status: 3 (b'Unsupported mechanism type GSSAPI')",
        "does not offer Kerberos",
        "hive.server2.authentication",
    ),
    ("[Errno 104] Connection reset by peer", "closed the connection", "auth, tls and transport"),
    ("TSocket read 0 bytes", "closed the connection", "auth, tls and transport"),
    ("Cannot contact any KDC for realm 'EXAMPLE'", "KDC does not answer", "/etc/krb5.conf"),
    ("the KDC does not answer within 20 s", "KDC does not answer", "/etc/krb5.conf"),
    (
        "the KDC has not answered an earlier question yet",
        "KDC does not answer",
        "/etc/krb5.conf",
    ),
    ('Cannot find KDC for realm "EXAMPLE"', "no KDC of this realm is known", "/etc/krb5.conf"),
    ("Clock skew too great in KDC reply", "clocks of this host", "chrony"),
    (
        "Configuration file does not specify default realm",
        "without a default realm",
        "realm, KDCs and domain_realm",
    ),
]
WEBHDFS = [
    ("HTTP 403 Forbidden: GSSException: Clock skew too great (37)", "clocks of this", "chrony"),
    ("HTTP 403 Forbidden: Request is a replay (34)", "for a copied one", "whether clocks jump"),
    (
        "InvalidToken: token (token for backupd) can't be found in cache",
        "does not know its own token",
        "next try gets a new one",
    ),
    ("User: knox is not allowed to impersonate etl", "may not act for", "hadoop.proxyuser"),
    (
        "401 Client Error: Authentication required for url: http://nn:9870/webhdfs/v1/x",
        "wants another login",
        "[kerberos]",
    ),
    ("Cannot create file/x. Name node is in safe mode.", "is in safe mode", "-safemode get"),
    (
        "StandbyException: Operation category READ is not supported in state standby.",
        "is standby",
        "webhdfs://nn1:9870,nn2:9870/path",
    ),
    (
        "RetriableException: Namenode is in startup mode",
        "the NameNode is starting",
        "wait",
    ),
    (
        ("HTTPConnectionPool(host='nn', port=9870): [Errno 111] Connection refused"),
        "nothing listens there",
        "host and port",
    ),
    (
        (
            "HTTPConnectionPool(host='nn', port=9870): NameResolutionError: Failed to resolve 'nn' "
            "([Errno -2] Name or service not known)"
        ),
        "name is not known here",
        "DNS",
    ),
    (
        "HTTPConnectionPool(host='nn', port=9870): Read timed out. (read timeout=30.0)",
        "does not answer in time",
        "whether it hangs",
    ),
]
TLS = [
    (
        "certificate verify failed: Hostname mismatch, certificate is not valid for 'hs2'.",
        "is for another name",
        "as the certificate does",
    ),
    (
        "certificate verify failed: IP address mismatch, certificate is not valid for '10.0.0.1'.",
        "is for another name",
        "as the certificate does",
    ),
    (
        "certificate verify failed: self-signed certificate in certificate chain (_ssl.c:992)",
        "CA that is not trusted",
        "tls_ca_file",
    ),
    (
        "certificate verify failed: unable to get local issuer certificate (_ssl.c:992)",
        "CA that is not trusted",
        "tls_ca_file",
    ),
    ("certificate verify failed: certificate has expired", "not valid today", "renewed"),
    ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "does not speak TLS", "tls = false"),
    (
        "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol",
        "does not speak TLS",
        "tls = false",
    ),
    ("[SSL] record layer failure (_ssl.c:1000)", "does not speak TLS", "tls = false"),
    (
        "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required",
        "asks for a client certificate",
        "tls_cert_file",
    ),
    (
        "[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure",
        "asks for a client certificate",
        "tls_cert_file",
    ),
    ("_ssl.c:989: The handshake operation timed out", "does not answer to TLS", "hangs"),
]
HTTP = [
    (
        (
            "HTTP 401 Unauthorized: Authentication Error: Error validating LDAP user [Caused by "
            "javax.naming.AuthenticationException: [LDAP: error code 49 - Invalid Credentials]]"
        ),
        "does not accept the user or the password",
        "password_file",
    ),
    (
        "HTTP 401 Unauthorized: Authorization header received from the client is empty.",
        "wants another kind of login",
        "hive.server2.authentication",
    ),
    (
        "HTTP 401 Unauthorized: Not a valid authentication method",
        "wants another kind of login",
        "hive.server2.authentication",
    ),
    ("HTTP 405 Method Not Allowed: HTTP method is not supp", "no HiveServer2 at this", "http_path"),
    ("HTTP 404 Not Found: ", "no HiveServer2 at this path", "hive.server2.thrift.http.path"),
    (
        "('Connection aborted.', BadStatusLine('\\x15\\x03\\x03\\x00\\x02\\x02P'))",
        "its port speaks TLS, or no HTTP",
        "transport",
    ),
    (
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection without resp",
        "its port speaks TLS, or no HTTP",
        "transport",
    ),
    (
        "Bad status: 3 (b'Error validating the login')",
        "does not accept the user or the password",
        "password_file",
    ),
    (
        "Cannot open sessions on an inactive HS2 instance, use service discovery to connect",
        "is stopping",
        "hosts",
    ),
]


@pytest.mark.parametrize(("words", "cause", "cure"), [*KERBEROS, *WEBHDFS, *TLS, *HTTP])
def test_what_is_known_is_explained(words: str, cause: str, cure: str) -> None:
    told = hint(words)
    assert cause in told
    assert cure in told


def test_what_is_not_known_is_not_explained() -> None:
    assert "docs/hive.md" in hint("the dog ate it")
    assert hint("the dog ate it", "") == ""


SECRET = "HAAEZXRs_-9+/=%2F"


@pytest.mark.parametrize(
    "message",
    [
        f"http://dn:9864/webhdfs/v1/x?op=CREATE&delegation={SECRET}&namenoderpcaddress=nn:8020",
        f"http://dn:9864/webhdfs/v1/x?op=CREATE&token={SECRET}",
        f"http://dn:9864/x?DELEGATION={SECRET}&op=OPEN",
        f"403 Client Error: Forbidden for url: https://dn:9865/x?delegation={SECRET}",
        f"'http://dn/x?delegation={SECRET}'",
        f'"http://dn/x?delegation={SECRET}"',
        f"(url: http://dn/x?delegation={SECRET})",
        f"token='{SECRET}' is too old",
        f'Token="{SECRET}" is too old',
        f"access_token={SECRET}; delegation: no",
        f"token = {SECRET}",
        f"twice: delegation={SECRET}, token={SECRET}",
        f"a URL in a URL: ?goto=http%3A%2F%2Fdn%2Fx%3Fdelegation%3D{SECRET}",
    ],
)
def test_tokens_are_cut_out(message: str) -> None:
    told = cut(message)
    assert SECRET[:6] not in told
    assert "..." in told
    assert "op=CREATE" in told or "op=CREATE" not in message


def test_a_token_that_is_cut_short_is_cut_out_too() -> None:
    assert SECRET[:6] not in cut("x" * 480 + f"?delegation={SECRET}")


def test_words_of_thrift_have_their_cause_with_them() -> None:
    cause = OSError(f"http://dn/x?delegation={SECRET}: Hostname mismatch")
    error = TTransportException(TTransportException.NOT_OPEN, "unexpected exception", cause)
    assert words_of(error) == "unexpected exception: http://dn/x?delegation=... Hostname mismatch"


def test_only_the_first_line_is_told_and_it_is_never_empty() -> None:
    assert cut("  cause\n\tat org.apache.Hive\n") == "cause"
    assert len(cut("x" * 10_000)) < 600
    assert cut("") == cut(None) == "the server gives no reason"
    assert words_of(TimeoutError()) != ""
