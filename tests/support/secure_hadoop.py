"""The same servers, secured: Kerberos and TLS everywhere; two NameNodes and HttpFS where asked."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from support.gss import Identity
from support.hadoop import Hadoop
from support.hadoop_config import over
from support.hadoop_programs import Program, environment, java
from support.processes import accepts
from support.secure_clients import binary_connection, http_connection, web_session
from support.secure_config import secured, two_namenodes
from support.tls import java_stores, tls_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests
    from pyhive import hive

    from support.hadoop import Transport
    from support.hadoop_config import Settings
    from support.hadoop_programs import Server
    from support.kdc import Kdc
    from support.server_process import ServerProcess


_HA_ADMIN = Program("128m", "hdfs", "org.apache.hadoop.hdfs.tools.DFSHAAdmin")


class SecureHadoop(Hadoop):
    """The servers of `Hadoop`, and `kdc`, which is somebody else's to stop in the end."""

    host = "localhost"  # as certificate and principals say

    def __init__(
        self,
        directory: Path,
        kdc: Kdc,
        *,
        ha: bool = False,
        two_hives: bool = False,
        httpfs: bool = False,
    ) -> None:
        self.kdc = kdc
        self.tls = tls_files(directory / "tls")
        self.stores = java_stores(self.tls)
        self.namenodes = ("namenode", "namenode2") if ha else ("namenode",)
        self._httpfs = httpfs
        (directory / "httpfs-secret").write_text("what HttpFS signs its cookies with")
        super().__init__(directory, two_hives=two_hives)

    # -- what clients are told -------------------------------------------------------------------

    @property
    def staging_url(self) -> str:
        """A folder that user backupd may make, by way of any NameNode."""
        hosts = [self._layout.at(name.replace("namenode", "webhdfs")) for name in self.namenodes]
        return f"swebhdfs://{','.join(hosts)}/user/backupd/staging"

    @property
    def httpfs_url(self) -> str:
        """The same folder, by way of HttpFS."""
        return f"swebhdfs://{self._layout.at('httpfs')}/user/backupd/staging"

    def config_keys(
        self, transport: Transport = "binary", *, by_zookeeper: bool = False
    ) -> dict[str, object]:
        """Return the keys of `[warehouse.hive]` that lead to it, as the config has them."""
        keys = super().config_keys(transport, by_zookeeper=by_zookeeper)
        return keys | {
            "auth": "KERBEROS",
            "tls": True,
            "tls_ca_file": str(self.tls.ca),
        }

    def kerberos_keys(self) -> dict[str, object]:
        """Return the keys of `[kerberos]`."""
        keytab = str(self.kdc.keytab("backupd"))
        return {"principal": self.kdc.principal("backupd"), "keytab": keytab}

    def identity(self, name: str) -> Identity:
        """Return who has a principal and its keytab."""
        return Identity(self.kdc.principal(name), self.kdc.keytab(name))

    def connection(
        self, server: Server = "hive", user: str = "other", transport: Transport = "binary"
    ) -> hive.Connection:
        """Connect as anybody would who has a principal."""
        ca_file, identity = self.tls.ca, self.identity(user)
        if transport == "http":
            return http_connection(self.ports[f"{server}_http"], ca_file, identity)
        return binary_connection(self.ports[server], ca_file, identity)

    def session(self, user: str) -> requests.Session:
        """Return who asks HDFS over HTTP."""
        return web_session(self.tls.ca, self.identity(user))

    # -- two NameNodes ---------------------------------------------------------------------------

    def active(self) -> Server:
        """Return the NameNode that serves clients."""
        found = self._active()
        assert found, "no NameNode is active"
        return found

    def failover(self) -> None:
        """Have the other NameNode be the active one, whether the first still runs or not."""
        active = self._active()
        other = next(name for name in self.namenodes if name != active and self._servers[name].runs)
        words = ("-failover", active) if active else ("-transitionToActive", "--forceactive")
        self._prepare("failover", _HA_ADMIN, *words, other)
        self._servers[other].wait()

    def _active(self) -> Server | None:
        for name in self.namenodes:
            if self._state(name) == "active":
                return name
        return None

    def _activate(self) -> None:
        if len(self.namenodes) > 1:
            self.failover()

    def _web(self, namenode: Server) -> str:
        return super()._web(namenode).replace("http:", "https:")

    # -- what each is made of --------------------------------------------------------------------

    def _names(self) -> list[Server]:
        more: list[Server] = ["httpfs"] if self._httpfs else []
        return [*super()._names(), *more]

    def _process(self, name: Server) -> ServerProcess:
        return self.kdc.server if name == "kdc" else super()._process(name)

    def _all_settings(self) -> Settings:
        settings = over(super()._all_settings(), secured(self._layout, self.kdc, self.stores))
        return over(settings, two_namenodes(self._layout)) if len(self.namenodes) > 1 else settings

    def _java(self, name: str, program: Program) -> list[str]:
        properties = {
            "java.security.krb5.conf": str(self.kdc.krb5_conf),
            "httpfs.home.dir": str(self.directory),
            "httpfs.config.dir": f"{self.directory}/conf",
            "httpfs.log.dir": str(self.directory),
            "httpfs.temp.dir": str(self.directory),
        }
        return java(self.directory, name, program, properties)

    def _environment(self, program: Program) -> dict[str, str]:
        """Return what a server finds; who it is stands in its settings, but for tools."""
        keytab = str(self.kdc.keytab("hdfs"))
        who = {"KRB5PRINCIPAL": self.kdc.principal("hdfs"), "KRB5KEYTAB": keytab}
        return environment(self.directory) | (who if program is _HA_ADMIN else {})

    def _arguments(self, name: Server) -> list[str]:
        if name in self.namenodes and len(self.namenodes) > 1:
            return ["-D", f"dfs.ha.namenode.id={name}"]
        return super()._arguments(name)

    def _format(self) -> None:
        super()._format()
        if len(self.namenodes) > 1:  # what -bootstrapStandby does, without another Java
            shutil.copytree(self.directory / "namenode", self.directory / "namenode2")

    def _is_up(self, name: Server) -> bool:
        if name in self.hives and not accepts(self.ports[f"{name}_http"]):
            return False
        return super()._is_up(name)


@contextmanager
def running_secure_hadoop(
    directory: Path,
    kdc: Kdc,
    *,
    ha: bool = False,
    two_hives: bool = False,
    httpfs: bool = False,
) -> Iterator[SecureHadoop]:
    """Start all servers, stop them in the end; the KDC runs, and is left alone."""
    hadoop = SecureHadoop(directory, kdc, ha=ha, two_hives=two_hives, httpfs=httpfs)
    try:
        hadoop.start_all()
        yield hadoop
    finally:
        hadoop.stop_all()
