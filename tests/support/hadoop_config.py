"""The settings of a small HDFS and of HiveServer2 on loopback."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Settings by the name of their file.
Settings = dict[str, dict[str, object]]

NAMESPACE = "hiveserver2"
_PORTS = (
    "namenode",
    "namenode2",
    "webhdfs",
    "webhdfs2",
    "data",
    "data_ipc",
    "data_http",
    "zookeeper",
    "metastore",
    "hive",
    "hive_http",
    "hive2",
    "hive2_http",
    "httpfs",
)
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
    """Return a free port for each of `_PORTS`."""
    with ExitStack() as held:
        ports: dict[str, int] = {}
        for name in _PORTS:
            listener = held.enter_context(socket.create_server(("127.0.0.1", 0)))
            ports[name] = listener.getsockname()[1]
        return ports


@dataclass(frozen=True)
class Layout:
    """Where the servers of a stack are: their directory, host and ports.

    In its settings `${server}` stands for the server that reads them.
    """

    directory: Path
    host: str
    ports: Mapping[str, int]

    def at(self, name: str) -> str:
        """Return the address that has a port."""
        return f"{self.host}:{self.ports[name]}"

    @property
    def own(self) -> str:
        """A folder that each server has for itself."""
        return f"{self.directory}/own-${{server}}"

    @property
    def jobs(self) -> str:
        """Hive's scratch folder: in HDFS, and Tez has one of the same path on this host."""
        return f"{self.directory}/jobs"


def write_settings(directory: Path, settings: Settings) -> None:
    """Write `conf` in the directory."""
    conf = directory / "conf"
    for pages in ("hdfs", "datanode"):  # the jars have no web pages, the servers want the folders
        (conf / "webapps" / pages / "WEB-INF").mkdir(parents=True)
    for name, values in settings.items():
        write_file(directory, name, values)
    for name in ("log4j2", "hive-log4j2", "hive-exec-log4j2"):
        (conf / f"{name}.properties").write_text(_LOG4J2)
    (conf / "log4j.properties").write_text(_LOG4J)


def write_file(directory: Path, name: str, settings: Mapping[str, object]) -> None:
    """Write one file of `conf`; who runs already does not look again."""
    properties = "".join(
        f"<property><name>{key}</name><value>{escape(str(value))}</value></property>\n"
        for key, value in settings.items()
    )
    text = f"<configuration>\n{properties}</configuration>\n"
    (directory / "conf" / f"{name}.xml").write_text(text)


def over(settings: Settings, more: Settings) -> Settings:
    """Return both; of two values for one key, that of `more`."""
    names = [*settings, *(name for name in more if name not in settings)]
    return {name: settings.get(name, {}) | more.get(name, {}) for name in names}


def plain_settings(layout: Layout) -> Settings:
    """Return what any stack has."""
    return {
        "core-site": _core(layout),
        "hdfs-site": _hdfs(layout),
        "mapred-site": {"mapreduce.framework.name": "local"},
        "tez-site": _tez(layout),
        "hive-site": _hive(layout),
    }


def two_hives(layout: Layout) -> Settings:
    """Return what two HiveServer2 need: a metastore that they share, ZooKeeper to be found in."""
    settings = {
        "hive.metastore.uris": f"thrift://{layout.at('metastore')}",
        "hive.metastore.port": layout.ports["metastore"],
        "hive.metastore.thrift.bind.host": layout.host,
        "hive.server2.support.dynamic.service.discovery": "true",
        "hive.server2.zookeeper.namespace": NAMESPACE,
        "hive.zookeeper.quorum": f"127.0.0.1:{layout.ports['zookeeper']}",
        "hive.zookeeper.client.port": layout.ports["zookeeper"],
        "hive.zookeeper.session.timeout": "10000ms",
    }
    return {"hive-site": settings}


def write_zookeeper_settings(path: Path, port: int) -> None:
    """Write what ZooKeeper reads."""
    lines = [
        "tickTime=2000",
        f"dataDir={path.parent}/zookeeper",
        f"clientPort={port}",
        "clientPortAddress=127.0.0.1",
        "maxClientCnxns=0",
        "admin.enableServer=false",
        "4lw.commands.whitelist=dump",
    ]
    path.write_text("\n".join(lines) + "\n")


def _core(layout: Layout) -> dict[str, object]:
    return {
        "fs.defaultFS": f"hdfs://{layout.at('namenode')}",
        "hadoop.tmp.dir": f"{layout.own}/hadoop",
        "hadoop.http.staticuser.user": "hive",
        "hadoop.proxyuser.hive.hosts": "*",
        "hadoop.proxyuser.hive.groups": "*",
    }


def _hdfs(layout: Layout) -> dict[str, object]:
    return {
        "dfs.replication": 1,
        "dfs.namenode.name.dir": layout.directory / "namenode",
        "dfs.datanode.data.dir": layout.directory / "datanode",
        "dfs.namenode.http-address": layout.at("webhdfs"),
        "dfs.datanode.address": f"127.0.0.1:{layout.ports['data']}",
        "dfs.datanode.ipc.address": f"127.0.0.1:{layout.ports['data_ipc']}",
        "dfs.datanode.http.address": f"127.0.0.1:{layout.ports['data_http']}",
        "dfs.datanode.hostname": layout.host,
        "dfs.client.use.datanode.hostname": "true",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.permissions.enabled": "true",
        "dfs.permissions.superusergroup": "supergroup",
        "dfs.namenode.safemode.extension": 0,
        "dfs.namenode.safemode.threshold-pct": 0,
        "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": 10,
    }


def _tez(layout: Layout) -> dict[str, object]:
    """Return what runs jobs inside HiveServer2, with little memory."""
    return {
        "tez.local.mode": "true",
        "tez.local.mode.without.network": "true",
        "tez.runtime.optimize.local.fetch": "true",
        "tez.staging-dir": f"{layout.jobs}/tez",
        "tez.ignore.lib.uris": "true",
        "tez.am.mode.session": "true",
        "tez.am.task.max.failed.attempts": 1,
        "tez.runtime.io.sort.mb": 32,
        "tez.task.resource.memory.mb": 256,
        "tez.am.resource.memory.mb": 256,
    }


def _hive(layout: Layout) -> dict[str, object]:
    metastore = f"jdbc:derby:;databaseName={layout.directory}/metastore;create=true"
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
        "hive.server2.thrift.bind.host": layout.host,
        "hive.server2.thrift.port": layout.ports["hive"],
        "hive.server2.thrift.http.port": layout.ports["hive_http"],  # of every address, if opened
        "hive.server2.webui.port": 0,
        "hive.server2.webui.host": "127.0.0.1",
        "hive.server2.authentication": "NONE",
        "hive.server2.enable.doAs": "false",
        "hive.server2.logging.operation.log.location": f"{layout.own}/operations",
        # One for all, from the start: each takes seconds to begin, and jobs of two in one JVM take
        # each other's input ("Invalid input path").
        "hive.server2.tez.initialize.default.sessions": "true",
        "hive.server2.tez.default.queues": "default",
        "hive.server2.tez.sessions.per.default.queue": 1,
        "hive.execution.engine": "tez",
        "hive.exec.scratchdir": layout.jobs,
        "hive.exec.local.scratchdir": f"{layout.own}/scratch",
        "hive.downloaded.resources.dir": f"{layout.own}/resources",
        "hive.querylog.location": f"{layout.own}/querylog",
        "hive.auto.convert.join": "false",  # several local Tez sessions trip over each other in it
        "hive.stats.column.autogather": "false",
        "hive.tez.container.size": 256,
        "hive.tez.java.opts": "-Xmx200m",
    }
