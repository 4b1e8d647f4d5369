"""A real HDFS and a real HiveServer2, or two, on free ports of loopback."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

import requests
from pyhive import hive

from support.hadoop_config import (
    NAMESPACE,
    Layout,
    free_ports,
    over,
    plain_settings,
    two_hives,
    write_file,
    write_settings,
    write_zookeeper_settings,
)
from support.hadoop_programs import (
    NAMENODE,
    PROGRAMS,
    SCHEMA_TOOL,
    Server,
    environment,
    has_archive,
    java,
    keep_archive,
    writes_archive,
)
from support.processes import accepts
from support.server_process import ServerProcess
from support.zookeeper import registered

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from support.hadoop_config import Settings
    from support.hadoop_programs import Program

__all__ = ["Hadoop", "Server", "running_hadoop"]

Transport = Literal["binary", "http"]

_ANSWER_WITHIN = 30.0  # seconds
# Folders as an administrator makes them: path, mode, owner.
_FOLDERS = (
    ("/tmp", "1777", "hdfs"),  # noqa: S108 - in HDFS
    ("/user", "755", "hdfs"),
    ("/user/hive", "755", "hive"),
    ("/user/backupd", "755", "backupd"),
)


class Hadoop:
    """The servers, with all they write in one directory. They believe anybody's name."""

    host = "127.0.0.1"
    namenodes: tuple[Server, ...] = ("namenode",)

    def __init__(self, directory: Path, *, two_hives: bool = False) -> None:
        self.directory = directory
        self.ports = free_ports()
        self.hives: tuple[Server, ...] = ("hive", "hive2") if two_hives else ("hive",)
        self._layout = Layout(directory, self.host, self.ports)
        self._settings = self._all_settings()
        write_settings(directory, self._settings)
        write_zookeeper_settings(directory / "zoo.cfg", self.ports["zookeeper"])
        self._servers = {name: self._server(name) for name in self._names()}

    # -- what clients are told -------------------------------------------------------------------

    @property
    def staging_url(self) -> str:
        """A folder that user backupd may make."""
        return f"webhdfs://{self._layout.at('webhdfs')}/user/backupd/staging"

    def config_keys(
        self, transport: Transport = "binary", *, by_zookeeper: bool = False
    ) -> dict[str, object]:
        """Return the keys of `[warehouse.hive]` that lead to it, as the config has them.

        Over http only where `hive.server2.transport.mode` lets one.
        """
        keys: dict[str, object] = {
            "auth": "NONE",
            "transport": transport,
            "http_path": "cliservice",
            "tls": False,
            "username": "backupd",
        }
        if by_zookeeper:
            address = f"127.0.0.1:{self.ports['zookeeper']}"
            return keys | {"zookeeper": [address], "zookeeper_namespace": NAMESPACE}
        suffix = "_http" if transport == "http" else ""
        return keys | {"hosts": [self._layout.at(f"{name}{suffix}") for name in self.hives]}

    def kerberos_keys(self) -> dict[str, object]:
        """Return the keys of `[kerberos]`."""
        return {}

    def connection(self, server: Server = "hive") -> hive.Connection:
        """Connect as anybody would."""
        return hive.Connection(host=self.host, port=self.ports[server], username="anna")

    # -- the servers -----------------------------------------------------------------------------

    def start_all(self) -> None:
        """Make the data of all, start them in their order."""
        self._format()
        self._start_together("zookeeper", *self.namenodes, "datanode")
        self._activate()
        self._make_folders()
        self._prepare("schema", SCHEMA_TOOL, "-dbType", "derby", "-initSchema")
        self._start_together("metastore")
        self._start_together(*self.hives, "httpfs")

    def start(self, name: Server) -> None:
        """Start one, on the data that it had."""
        self._process(name).start()

    def kill(self, name: Server) -> None:
        """End one by SIGKILL."""
        self._process(name).kill()

    def signal(self, name: Server, number: signal.Signals) -> None:
        """Send one a signal: SIGSTOP freezes it, and that is waited for; SIGCONT lets it go on."""
        self._process(name).signal(number)

    def stop_all(self) -> None:
        """End what runs; of a program that starts here for the first time, keep the archive."""
        for name, server in self._servers.items():
            if server.runs and not has_archive(PROGRAMS[name]):
                server.terminate()
            server.kill()
            if self._archive(name).exists():
                keep_archive(PROGRAMS[name], self._archive(name))

    def registered(self) -> set[int]:
        """Return the ports of the HiveServer2s that ZooKeeper knows."""
        return registered(self.ports["zookeeper"])

    @contextmanager
    def other_hive(self, settings: Mapping[str, str]) -> Iterator[None]:
        """Have HiveServer2 (the first, of two) run with other settings for a while."""
        self._restart_hive(settings)
        try:
            yield
        finally:
            self._restart_hive({})

    def _restart_hive(self, settings: Mapping[str, str]) -> None:
        self.kill("hive")
        write_file(self.directory, "hive-site", self._settings["hive-site"] | dict(settings))
        self.start("hive")

    # -- HDFS, as its administrator --------------------------------------------------------------

    def hdfs(self, operation: str, path: str, *, user: str = "hdfs", **options: str) -> None:
        """Do something in HDFS that is asked for by PUT."""
        url = f"{self._web(self.active())}/webhdfs/v1{path}"
        with self.session(user) as session:
            done = session.put(url, params={"op": operation, **options}, timeout=_ANSWER_WITHIN)
            done.raise_for_status()

    def names(self, path: str) -> list[str]:
        """Return what lies in a folder of HDFS."""
        url = f"{self._web(self.active())}/webhdfs/v1{path}"
        found = self._get(url, {"op": "LISTSTATUS"})["FileStatuses"]["FileStatus"]
        return [each["pathSuffix"] for each in found]

    def staged(self, folder: str) -> list[str]:
        """Return what lies in the folders of batches there: those that were moved are empty."""
        return [each for name in self.names(folder) for each in self.names(f"{folder}/{name}")]

    def active(self) -> Server:
        """Return the NameNode that serves clients."""
        return "namenode"

    def session(self, user: str) -> requests.Session:
        """Return who asks HDFS over HTTP."""
        session = requests.Session()
        session.trust_env = False
        session.params = {"user.name": user}
        return session

    def _web(self, namenode: Server) -> str:
        return f"http://{self._layout.at(namenode.replace('namenode', 'webhdfs'))}"

    def _get(self, url: str, options: Mapping[str, str]) -> dict[str, Any]:
        with self.session("hdfs") as session:
            answer = session.get(url, params=dict(options), timeout=_ANSWER_WITHIN)
            answer.raise_for_status()
            said: dict[str, Any] = answer.json()
            return said

    def _says(self, namenode: Server, bean: str, key: str) -> object:
        """Return something that a NameNode says of itself; None while it says nothing."""
        query = {"qry": f"Hadoop:service=NameNode,name={bean}"}
        try:
            said: object = self._get(f"{self._web(namenode)}/jmx", query)["beans"][0][key]
        except (OSError, LookupError):
            return None
        return said

    def _make_folders(self) -> None:
        for path, mode, owner in (*_FOLDERS, (self._layout.jobs, "1777", "hdfs")):
            self.hdfs("MKDIRS", path, permission=mode)
            self.hdfs("SETPERMISSION", path, permission=mode)
            self.hdfs("SETOWNER", path, owner=owner)

    # -- what each is made of --------------------------------------------------------------------

    def _names(self) -> list[Server]:
        shared: list[Server] = ["zookeeper", "metastore"] if len(self.hives) > 1 else []
        return [*self.namenodes, "datanode", *shared, *self.hives]

    def _all_settings(self) -> Settings:
        settings = plain_settings(self._layout)
        return over(settings, two_hives(self._layout)) if len(self.hives) > 1 else settings

    def _process(self, name: Server) -> ServerProcess:
        return self._servers[name]

    def _server(self, name: Server) -> ServerProcess:
        program = PROGRAMS[name]
        command = [*self._java(name, program), *self._arguments(name)]
        log = self.directory / f"{name}.log"
        archiving = {} if has_archive(program) else writes_archive(self._archive(name))
        variables = {**self._environment(program), **archiving}
        return ServerProcess(log, command, variables, partial(self._is_up, name))

    def _archive(self, name: Server) -> Path:
        return self.directory / f"{name}.jsa"

    def _java(self, name: str, program: Program) -> list[str]:
        return java(self.directory, name, program, {})

    def _environment(self, program: Program) -> dict[str, str]:
        return environment(self.directory) | {"HADOOP_USER_NAME": program.user}

    def _arguments(self, name: Server) -> list[str]:
        if name == "zookeeper":
            return [str(self.directory / "zoo.cfg")]
        if name != "hive2":
            return []
        keys = {"port": self.ports["hive2"], "http.port": self.ports["hive2_http"]}
        settings = [f"hive.server2.thrift.{key}={port}" for key, port in keys.items()]
        return [word for each in settings for word in ("--hiveconf", each)]

    def _format(self) -> None:
        words = [*self._arguments("namenode"), "-format", "-force", "-nonInteractive"]
        self._prepare("format", NAMENODE, *words)

    def _prepare(self, name: str, program: Program, *words: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            subprocess.run(
                [*self._java(name, program), *words],
                env=self._environment(program),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
            )

    def _start_together(self, *names: Server) -> None:
        """Start those that this stack has side by side."""
        servers = [self._servers[name] for name in names if name in self._servers]
        for each in servers:
            each.launch()
        for each in servers:
            each.wait()

    def _activate(self) -> None:
        """Have a NameNode serve clients: one alone does by itself."""

    def _is_up(self, name: Server) -> bool:
        if name in self.namenodes:
            return self._is_namenode_up(name)
        if name == "datanode":
            running = [each for each in self.namenodes if self._servers[each].runs]
            return accepts(self.ports["data_ipc"]) and all(map(self._has_datanode, running))
        if name in self.hives and "zookeeper" in self._servers:
            return accepts(self.ports[name]) and self.ports[name] in self.registered()
        return accepts(self.ports[name])

    def _is_namenode_up(self, name: Server) -> bool:
        if self._state(name) not in ("active", "standby"):
            return False
        return not self._servers["datanode"].runs or self._has_datanode(name)

    def _has_datanode(self, namenode: Server) -> bool:
        """Return whether it knows the DataNode, and, if it is active, would take a file."""
        if not self._says(namenode, "FSNamesystemState", "NumLiveDataNodes"):
            return False
        return self._state(namenode) != "active" or self._takes_files(namenode)

    def _state(self, namenode: Server) -> object:
        return self._says(namenode, "NameNodeStatus", "State")

    def _takes_files(self, namenode: Server) -> bool:
        """Return whether it says where a file is to go; so nothing is made yet."""
        url = f"{self._web(namenode)}/webhdfs/v1/nothing"
        with self.session("hdfs") as session:
            answer = session.put(
                url, params={"op": "CREATE"}, timeout=_ANSWER_WITHIN, allow_redirects=False
            )
        return answer.status_code == HTTPStatus.TEMPORARY_REDIRECT


@contextmanager
def running_hadoop(directory: Path, *, two_hives: bool = False) -> Iterator[Hadoop]:
    """Start all servers, stop them in the end."""
    hadoop = Hadoop(directory, two_hives=two_hives)
    try:
        hadoop.start_all()
        yield hadoop
    finally:
        hadoop.stop_all()
