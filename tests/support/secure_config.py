"""What Kerberos, TLS and two NameNodes add to the settings of a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.tls import STORE_PASSWORD

if TYPE_CHECKING:
    from support.hadoop_config import Layout, Settings
    from support.kdc import Kdc
    from support.tls import JavaStores

CLUSTER = "cluster"  # what the two NameNodes are called together


def two_namenodes(layout: Layout) -> Settings:
    """Return what an active and a standby NameNode need, over one directory of edits."""
    proxy = "org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider"
    hdfs: dict[str, object] = {
        "dfs.nameservices": CLUSTER,
        f"dfs.ha.namenodes.{CLUSTER}": "namenode,namenode2",
        f"dfs.client.failover.proxy.provider.{CLUSTER}": proxy,
        "dfs.namenode.shared.edits.dir": (layout.directory / "edits").as_uri(),
        "dfs.ha.fencing.methods": "shell(true)",
        "dfs.ha.nn.not-become-active-in-safemode": "false",
        "dfs.ha.tail-edits.period": 1,
        "dfs.ha.log-roll.period": 2,
    }
    for name, port, web in (("namenode",) * 2 + ("webhdfs",), ("namenode2",) * 2 + ("webhdfs2",)):
        hdfs |= {
            f"dfs.namenode.rpc-address.{CLUSTER}.{name}": layout.at(port),
            f"dfs.namenode.http-address.{CLUSTER}.{name}": layout.at(web),
            f"dfs.namenode.https-address.{CLUSTER}.{name}": layout.at(web),
            f"dfs.namenode.name.dir.{CLUSTER}.{name}": layout.directory / name,
        }
    return {"core-site": {"fs.defaultFS": f"hdfs://{CLUSTER}"}, "hdfs-site": hdfs}


def secured(layout: Layout, kdc: Kdc, stores: JavaStores) -> Settings:
    """Return what Kerberos and TLS everywhere need."""
    return {
        "core-site": _core(kdc),
        "hdfs-site": _hdfs(layout, kdc),
        "hadoop-policy": {},
        "ssl-server": {f"ssl.server.{key}": value for key, value in _ssl(stores).items()},
        "ssl-client": {f"ssl.client.{key}": value for key, value in _ssl(stores).items()},
        "hive-site": _hive(kdc, stores),
        "httpfs-site": _httpfs(layout, kdc),
    }


def _core(kdc: Kdc) -> dict[str, object]:
    return {
        "hadoop.security.authentication": "kerberos",
        "hadoop.security.authorization": "true",
        "hadoop.http.filter.initializers": "org.apache.hadoop.hdfs.web.AuthFilterInitializer",
        "hadoop.http.authentication.type": "kerberos",
        "hadoop.http.authentication.kerberos.principal": kdc.principal("HTTP"),
        "hadoop.http.authentication.kerberos.keytab": kdc.keytab("HTTP"),
        "hadoop.proxyuser.httpfs.hosts": "*",
        "hadoop.proxyuser.httpfs.groups": "*",
        "yarn.resourcemanager.principal": kdc.principal("hive"),  # Tez asks for it
    }


def _hdfs(layout: Layout, kdc: Kdc) -> dict[str, object]:
    own: dict[str, object] = {
        f"dfs.{kind}.{key}": value
        for kind in ("namenode", "datanode")
        for key, value in (
            ("kerberos.principal", kdc.principal("hdfs")),
            ("keytab.file", kdc.keytab("hdfs")),
        )
    }
    return own | {
        "dfs.namenode.kerberos.internal.spnego.principal": kdc.principal("HTTP"),
        "dfs.web.authentication.kerberos.principal": kdc.principal("HTTP"),
        "dfs.web.authentication.kerberos.keytab": kdc.keytab("HTTP"),
        "dfs.block.access.token.enable": "true",
        "dfs.http.policy": "HTTPS_ONLY",
        "dfs.namenode.https-address": layout.at("webhdfs"),
        "dfs.datanode.https.address": f"127.0.0.1:{layout.ports['data_http']}",
        "ignore.secure.ports.for.testing": "true",
    }


def _ssl(stores: JavaStores) -> dict[str, object]:
    return {
        "keystore.location": stores.key,
        "keystore.type": "PKCS12",
        "keystore.password": STORE_PASSWORD,
        "keystore.keypassword": STORE_PASSWORD,
        "truststore.location": stores.trust,
        "truststore.type": "PKCS12",
        "truststore.password": STORE_PASSWORD,
    }


def _hive(kdc: Kdc, stores: JavaStores) -> dict[str, object]:
    return {
        "hive.server2.transport.mode": "all",
        "hive.server2.use.SSL": "true",
        "hive.server2.keystore.path": stores.key,
        "hive.server2.keystore.type": "PKCS12",
        "hive.server2.keystore.password": STORE_PASSWORD,
        "hive.server2.authentication": "KERBEROS",
        "hive.server2.authentication.kerberos.principal": kdc.principal("hive"),
        "hive.server2.authentication.kerberos.keytab": kdc.keytab("hive"),
        "hive.server2.authentication.spnego.principal": kdc.principal("HTTP"),
        "hive.server2.authentication.spnego.keytab": kdc.keytab("HTTP"),
        "hive.metastore.sasl.enabled": "true",
        "hive.metastore.kerberos.principal": kdc.principal("hive"),
        "hive.metastore.kerberos.keytab.file": kdc.keytab("hive"),
        "hive.zookeeper.kerberos.enabled": "false",
    }


def _httpfs(layout: Layout, kdc: Kdc) -> dict[str, object]:
    return {
        "httpfs.http.hostname": layout.host,
        "httpfs.http.port": layout.ports["httpfs"],
        "httpfs.ssl.enabled": "true",
        # It brings its own filter; a second one would take each handshake for a replay.
        "hadoop.http.filter.initializers": "org.apache.hadoop.http.lib.StaticUserWebFilter",
        "hadoop.http.authentication.type": "kerberos",
        "hadoop.http.authentication.kerberos.principal": kdc.principal("HTTP"),
        "hadoop.http.authentication.kerberos.keytab": kdc.keytab("HTTP"),
        "hadoop.http.authentication.signature.secret.file": layout.directory / "httpfs-secret",
        "httpfs.hadoop.authentication.type": "kerberos",
        "httpfs.hadoop.authentication.kerberos.principal": kdc.principal("httpfs"),
        "httpfs.hadoop.authentication.kerberos.keytab": kdc.keytab("httpfs"),
    }
