"""The settings of a small HDFS and HiveServer2 on loopback."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PORTS = ("namenode", "webhdfs", "data", "data_ipc", "data_http", "hive")
_LOG4J2 = """\
status=WARN
appenders=c
appender.c.type=Console
appender.c.name=c
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d{ISO8601} %p [%t] %c{2}: %m%n
rootLogger.level=INFO
rootLogger.appenderRefs=c
rootLogger.appenderRef.c.ref=c
"""
_LOG4J = """\
log4j.rootLogger=INFO,A
log4j.appender.A=org.apache.log4j.ConsoleAppender
log4j.appender.A.layout=org.apache.log4j.PatternLayout
log4j.appender.A.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
"""


def free_ports() -> dict[str, int]:
    """Return a free port for each of `PORTS`."""
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in PORTS}
    ports = {name: each.getsockname()[1] for name, each in sockets.items()}
    for each in sockets.values():
        each.close()
    return ports


def write_settings(directory: Path, ports: Mapping[str, int]) -> None:
    """Write `conf` in the directory."""
    conf = directory / "conf"
    for pages in ("hdfs", "datanode"):  # the jars have no web pages, the servers want the folders
        (conf / "webapps" / pages / "WEB-INF").mkdir(parents=True)
    _write(conf / "core-site.xml", _core(directory, ports))
    _write(conf / "hdfs-site.xml", _hdfs(directory, ports))
    _write(conf / "mapred-site.xml", {"mapreduce.framework.name": "local"})
    _write(conf / "tez-site.xml", _tez())
    write_hive_settings(directory, ports, {})
    for name in ("log4j2", "hive-log4j2", "hive-exec-log4j2"):
        (conf / f"{name}.properties").write_text(_LOG4J2)
    (conf / "log4j.properties").write_text(_LOG4J)


def write_hive_settings(
    directory: Path, ports: Mapping[str, int], hive_settings: Mapping[str, str]
) -> None:
    """Write what HiveServer2 reads when it starts; `hive_settings` go over what stands here."""
    _write(directory / "conf" / "hive-site.xml", _hive(directory, ports) | dict(hive_settings))


def _write(path: Path, settings: Mapping[str, object]) -> None:
    properties = "".join(
        f"<property><name>{name}</name><value>{escape(str(value))}</value></property>\n"
        for name, value in settings.items()
    )
    path.write_text(f"<configuration>\n{properties}</configuration>\n")


def _core(directory: Path, ports: Mapping[str, int]) -> dict[str, object]:
    return {
        "fs.defaultFS": f"hdfs://127.0.0.1:{ports['namenode']}",
        "hadoop.tmp.dir": directory / "tmp",
        "hadoop.http.staticuser.user": "hive",
        "hadoop.proxyuser.hive.hosts": "*",
        "hadoop.proxyuser.hive.groups": "*",
    }


def _hdfs(directory: Path, ports: Mapping[str, int]) -> dict[str, object]:
    return {
        "dfs.replication": 1,
        "dfs.namenode.name.dir": directory / "namenode",
        "dfs.datanode.data.dir": directory / "datanode",
        "dfs.namenode.http-address": f"127.0.0.1:{ports['webhdfs']}",
        "dfs.datanode.address": f"127.0.0.1:{ports['data']}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{ports['data_ipc']}",
        "dfs.datanode.http.address": f"127.0.0.1:{ports['data_http']}",
        "dfs.datanode.hostname": "127.0.0.1",
        "dfs.client.use.datanode.hostname": "true",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.permissions.enabled": "true",
        "dfs.permissions.superusergroup": "supergroup",
        "dfs.namenode.safemode.extension": 0,
        "dfs.namenode.safemode.threshold-pct": 0,
        "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": 10,
    }


def _tez() -> dict[str, object]:
    """Return what runs jobs inside HiveServer2, with little memory."""
    return {
        "tez.local.mode": "true",
        "tez.local.mode.without.network": "true",
        "tez.runtime.optimize.local.fetch": "true",
        "tez.staging-dir": "/tmp/tez-staging",  # noqa: S108 - in HDFS
        "tez.ignore.lib.uris": "true",
        "tez.am.mode.session": "true",
        "tez.am.task.max.failed.attempts": 1,
        "tez.runtime.io.sort.mb": 32,
        "tez.task.resource.memory.mb": 256,
        "tez.am.resource.memory.mb": 256,
    }


def _hive(directory: Path, ports: Mapping[str, int]) -> dict[str, object]:
    metastore = f"jdbc:derby:;databaseName={directory}/metastore;create=true"
    return {
        "hive.metastore.warehouse.dir": "/user/hive/warehouse",
        "hive.metastore.warehouse.external.dir": "/user/hive/external",
        "javax.jdo.option.ConnectionURL": metastore,
        "javax.jdo.option.ConnectionDriverName": "org.apache.derby.jdbc.EmbeddedDriver",
        "hive.metastore.schema.verification": "true",
        "hive.metastore.task.threads.always": "",
        "hive.metastore.housekeeping.threads.on": "false",
        "hive.metastore.event.db.notification.api.auth": "false",
        "hive.notification.event.poll.interval": "0s",
        "hive.scheduled.queries.executor.enabled": "false",
        "hive.server2.materializedviews.registry.impl": "DUMMY",
        "hive.server2.thrift.bind.host": "127.0.0.1",
        "hive.server2.thrift.port": ports["hive"],
        "hive.server2.webui.port": 0,
        "hive.server2.authentication": "NONE",
        "hive.server2.enable.doAs": "false",
        "hive.server2.logging.operation.log.location": directory / "operations",
        "hive.server2.tez.initialize.default.sessions": "false",
        "hive.execution.engine": "tez",
        "hive.exec.scratchdir": "/tmp/hive",  # noqa: S108 - in HDFS
        "hive.exec.local.scratchdir": directory / "scratch",
        "hive.downloaded.resources.dir": directory / "resources",
        "hive.querylog.location": directory / "querylog",
        "hive.auto.convert.join": "false",  # several local Tez sessions trip over each other in it
        "hive.stats.column.autogather": "false",
        "hive.tez.container.size": 256,
        "hive.tez.java.opts": "-Xmx200m",
    }
