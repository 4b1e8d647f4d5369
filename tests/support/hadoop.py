"""A real NameNode, DataNode and HiveServer2 on free ports of loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from support.hadoop_config import free_ports, write_hive_settings, write_settings
from support.hadoop_jars import jars

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Server = Literal["namenode", "datanode", "hive"]

_UP_WITHIN = 180.0  # seconds
_MAIN = {
    "namenode": ("256m", "hdfs", "org.apache.hadoop.hdfs.server.namenode.NameNode"),
    "datanode": ("256m", "hdfs", "org.apache.hadoop.hdfs.server.datanode.DataNode"),
    "hive": ("1g", "hive", "org.apache.hive.service.server.HiveServer2"),
}
_SCHEMA_TOOL = "org.apache.hadoop.hive.metastore.tools.schematool.MetastoreSchemaTool"
_OPENED = [
    *(f"java.base/java.{package}" for package in ("lang", "lang.reflect", "lang.invoke", "util")),
    *(f"java.base/java.util.{package}" for package in ("concurrent", "concurrent.atomic", "regex")),
    *(f"java.base/java.{package}" for package in ("time", "io", "net", "nio", "text", "math")),
    "java.base/sun.nio.ch",
    "java.sql/java.sql",
]
# Folders as an administrator makes them: path, mode, owner.
_FOLDERS = (
    ("/tmp", "1777", "hdfs"),  # noqa: S108 - in HDFS
    ("/user", "755", "hdfs"),
    ("/user/hive", "755", "hive"),
    ("/user/backupd", "755", "backupd"),
)


class Hadoop:
    """The three servers, with all they write in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ports = free_ports()
        self._processes: dict[Server, subprocess.Popen[bytes]] = {}
        write_settings(directory, self.ports)

    @property
    def staging_url(self) -> str:
        """A folder that user backupd may make."""
        return f"webhdfs://127.0.0.1:{self.ports['webhdfs']}/user/backupd/staging"

    def start(self, name: Server) -> None:
        """Start one, on the data that it had."""
        heap, user, main = _MAIN[name]
        log = (self.directory / f"{name}.log").open("ab")
        with log:
            self._processes[name] = subprocess.Popen(
                [*self._java(heap), main],
                env=self._environment(user),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._wait_for(name)

    def start_all(self) -> None:
        """Make the data of all three, start them in their order."""
        self._prepare("namenode", _MAIN["namenode"][2], "-format", "-force", "-nonInteractive")
        self.start("namenode")
        self.start("datanode")
        for path, mode, owner in _FOLDERS:
            self.hdfs("MKDIRS", path, permission=mode)
            self.hdfs("SETPERMISSION", path, permission=mode)
            self.hdfs("SETOWNER", path, owner=owner)
        self._prepare("hive", _SCHEMA_TOOL, "-dbType", "derby", "-initSchema")
        self.start("hive")

    def kill(self, name: Server) -> None:
        """End one by SIGKILL."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()

    def signal(self, name: Server, number: signal.Signals) -> None:
        """Send one a signal: SIGSTOP freezes it, and that is waited for; SIGCONT lets it go on."""
        self._processes[name].send_signal(number)
        while number is signal.SIGSTOP and not self._is_frozen(name):
            time.sleep(0.01)

    def _is_frozen(self, name: Server) -> bool:
        """Return whether all its threads stand: on a loaded machine one may work on for a bit."""
        tasks = Path(f"/proc/{self._processes[name].pid}/task").iterdir()
        states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks]
        return set(states) == {"T"}

    def stop_all(self) -> None:
        """End what runs."""
        for name in list(self._processes):
            self.kill(name)

    @contextmanager
    def other_hive(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Have HiveServer2 run with other settings for a while."""
        self._restart_hive(settings)
        try:
            yield
        finally:
            self._restart_hive({})

    def _restart_hive(self, settings: Mapping[str, str]) -> None:
        self.kill("hive")
        write_hive_settings(self.directory, self.ports, settings)
        self.start("hive")

    def hdfs(self, operation: str, path: str, *, user: str = "hdfs", **options: str) -> None:
        """Do something in HDFS that is asked for by PUT."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        url = f"{self._webhdfs}{path}?user.name={user}&op={operation}&{query}"
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30).close()  # noqa: S310

    def names(self, path: str) -> list[str]:
        """Return what lies in a folder of HDFS."""
        url = f"{self._webhdfs}{path}?user.name=hdfs&op=LISTSTATUS"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            found = json.load(answer)["FileStatuses"]["FileStatus"]
        return [each["pathSuffix"] for each in found]

    @property
    def _webhdfs(self) -> str:
        return f"http://127.0.0.1:{self.ports['webhdfs']}/webhdfs/v1"

    # -- processes -------------------------------------------------------------------------------

    def _java(self, heap: str) -> list[str]:
        opened = [word for each in _OPENED for word in ("--add-opens", f"{each}=ALL-UNNAMED")]
        return [
            "java",
            f"-Xmx{heap}",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djava.net.preferIPv4Stack=true",
            "-Duser.timezone=Asia/Kolkata",  # no value may depend on it
            f"-Dhadoop.home.dir={self.directory}",
            f"-Djava.io.tmpdir={self.directory}",
            f"-Dderby.stream.error.file={self.directory}/derby.log",
            *opened,
            "-cp",
            self._class_path,
        ]

    @property
    def _class_path(self) -> str:
        cache = jars()
        return f"{self.directory}/conf:{cache}/lib/*:{cache}/last/*"

    def _environment(self, user: str) -> dict[str, str]:
        added = {
            "HADOOP_USER_NAME": user,
            "HADOOP_CLASSPATH": self._class_path,
            "METASTORE_HOME": f"{jars()}/metastore",
        }
        return {**os.environ, **added}

    def _prepare(self, name: Server, *command: str) -> None:
        heap, user, _ = _MAIN[name]
        with (self.directory / f"{name}-prepare.log").open("ab") as log:
            subprocess.run(
                [*self._java(heap), *command],
                env=self._environment(user),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _wait_for(self, name: Server) -> None:
        deadline = time.monotonic() + _UP_WITHIN
        while not self._is_up(name):
            log = self.directory / f"{name}.log"
            if self._processes[name].poll() is not None:
                raise RuntimeError(f"{name} ended: see {log}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not come up: see {log}")
            time.sleep(0.1)

    def _is_up(self, name: Server) -> bool:
        if name == "datanode":
            return self._live_datanodes() > 0
        port = self.ports["webhdfs" if name == "namenode" else "hive"]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def _live_datanodes(self) -> int:
        bean = "Hadoop:service=NameNode,name=FSNamesystemState"
        url = f"http://127.0.0.1:{self.ports['webhdfs']}/jmx?qry={bean}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            beans = json.load(answer)["beans"]
        return int(beans[0]["NumLiveDataNodes"]) if beans else 0


@contextmanager
def running_hadoop(directory: Path) -> Iterator[Hadoop]:
    """Start all three, stop them in the end."""
    hadoop = Hadoop(directory)
    try:
        hadoop.start_all()
        yield hadoop
    finally:
        hadoop.stop_all()
