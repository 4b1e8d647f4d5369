"""How the servers of Hadoop and Hive are started: main classes, heaps, Java's options."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from support.hadoop_jars import jars

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Server = Literal[
    "kdc",
    "namenode",
    "namenode2",
    "datanode",
    "zookeeper",
    "metastore",
    "hive",
    "hive2",
    "httpfs",
]


@dataclass(frozen=True)
class Program:
    """A server's heap, the user that it runs as where nobody asks who one is, its main class."""

    heap: str
    user: str
    main: str


_HDFS = "org.apache.hadoop.hdfs.server"
NAMENODE = Program("256m", "hdfs", f"{_HDFS}.namenode.NameNode")
_HIVESERVER = Program("1g", "hive", "org.apache.hive.service.server.HiveServer2")
PROGRAMS: Mapping[Server, Program] = {
    "namenode": NAMENODE,
    "namenode2": NAMENODE,
    "datanode": Program("256m", "hdfs", f"{_HDFS}.datanode.DataNode"),
    "zookeeper": Program("128m", "hive", "org.apache.zookeeper.server.ZooKeeperServerMain"),
    "metastore": Program("512m", "hive", "org.apache.hadoop.hive.metastore.HiveMetaStore"),
    "hive": _HIVESERVER,
    "hive2": _HIVESERVER,
    "httpfs": Program("256m", "httpfs", "org.apache.hadoop.fs.http.server.HttpFSServerWebServer"),
}
_SCHEMATOOL = "org.apache.hadoop.hive.metastore.tools.schematool.MetastoreSchemaTool"
SCHEMA_TOOL = Program("256m", "hive", _SCHEMATOOL)
_OPENED = [
    *(f"java.base/java.{package}" for package in ("lang", "lang.reflect", "lang.invoke", "util")),
    *(f"java.base/java.util.{package}" for package in ("concurrent", "concurrent.atomic", "regex")),
    *(f"java.base/java.{package}" for package in ("time", "io", "net", "nio", "text", "math")),
    "java.base/sun.nio.ch",
    "java.sql/java.sql",
]


def java(directory: Path, name: str, program: Program, properties: Mapping[str, str]) -> list[str]:
    """Return the command; the settings in the directory's `conf` know it by `${server}`."""
    opened = [word for each in _OPENED for word in ("--add-opens", f"{each}=ALL-UNNAMED")]
    return [
        "java",
        f"-Xmx{program.heap}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Djava.net.preferIPv4Stack=true",
        "-Duser.timezone=Asia/Kolkata",  # no value may depend on it
        f"-Dserver={name}",
        f"-Dhadoop.home.dir={directory}",
        f"-Djava.io.tmpdir={directory}",
        f"-Dderby.stream.error.file={directory}/derby-{name}.log",
        f"-Dlog4j.configurationFile={directory}/conf/log4j2.properties",
        f"-Dhive.log4j.file={directory}/conf/hive-log4j2.properties",
        *([f"-XX:SharedArchiveFile={_archive(program)}"] if has_archive(program) else []),
        *(f"-D{key}={value}" for key, value in properties.items()),
        *opened,
        "-cp",
        _class_path(directory),
        program.main,
    ]


def environment(directory: Path) -> dict[str, str]:
    """Return the environment of each; who one is stands elsewhere."""
    ours = {"HADOOP_CLASSPATH": _class_path(directory), "METASTORE_HOME": f"{jars()}/metastore"}
    return os.environ | ours


def has_archive(program: Program) -> bool:
    """Return whether Java's archive of a program's classes, as it wants them in memory, is kept.

    A server that has it starts in half of the time.
    """
    return _archive(program).exists()


def writes_archive(path: Path) -> Mapping[str, str]:
    """Return what has a server write its archive there when it ends, but not by SIGKILL."""
    return {"JDK_JAVA_OPTIONS": f"-XX:ArchiveClassesAtExit={path}"}


def keep_archive(program: Program, path: Path) -> None:
    """Keep what a server wrote there."""
    kept = _archive(program)
    part = kept.with_suffix(f".{os.getpid()}.part")
    shutil.move(path, part)
    part.replace(kept)


def _archive(program: Program) -> Path:
    return jars() / f"{program.main}.jsa"


def _class_path(directory: Path) -> str:
    """Return the jars first: an archive is good for a path that begins as its own did."""
    cache = jars()
    return f"{cache}/lib/*:{cache}/last/*:{directory}/conf"
