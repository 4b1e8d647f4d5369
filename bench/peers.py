"""What backupd is compared with. Each is given the feeds' directories and a place at the server."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.process import MeasuringError, Run, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from support.sshd import SshServer

_OLD_JOB = Path(__file__).parent / "old_job.sh"


@dataclass(frozen=True, slots=True)
class Peers:
    """The peers, on one server. `directory` is for logs and the like."""

    server: SshServer
    directory: Path

    def old_job(self, feeds: Sequence[Path], archive: Path) -> Run:
        """The bash job: manifest, then gzip, ssh mkdir, scp, rm, a feed at a time."""
        manifest = self.directory / "manifest.txt"
        arguments = [str(manifest), str(self._ssh_config()), str(archive), *map(str, feeds)]
        return run([str(_OLD_JOB), *arguments], self.directory / "old_job.log")

    def rclone(self, feeds: Sequence[Path], archive: Path) -> Run:
        """`rclone copy`, which compares a hash of each file after it; it does not compress."""
        source = feeds[0].parents[1]
        server = self.server
        remote = {
            "host": server.host,
            "port": server.port,
            "user": server.username,
            "key_file": server.identity,
            "known_hosts_file": server.known_hosts,
            "shell_type": "unix",
            "md5sum_command": "md5sum",
            "sha1sum_command": "sha1sum",
        }
        options = ",".join(f'{key}="{value}"' for key, value in remote.items())
        command = ["rclone", "--config", "/dev/null", "copy", str(source)]
        return run([*command, f":sftp,{options}:{archive}"], self.directory / "rclone.log")

    def igzip(self, feeds: Sequence[Path], archive: Path) -> Run:
        """`igzip -1 | ssh`, two files at once: no manifest, no verification, no flush."""
        archive.mkdir(parents=True)
        files = [str(file) for feed in feeds for file in sorted(feed.iterdir())]
        # Names travel as arguments ($1 is the file); sh never reads one as a program.
        one = (
            f'igzip -1 -c "$1" | ssh -F {self._ssh_config()} archive'
            f' "cat > {archive}/$(basename "$1").gz"'
        )
        script = f"printf '%s\\0' \"$@\" | xargs -0 -n 1 -P 2 sh -c '{one}' sh"
        return run(["bash", "-c", script, "bash", *files], self.directory / "igzip.log")

    def _ssh_config(self) -> Path:
        server, path = self.server, self.directory / "ssh_config"
        lines = [
            "Host archive",
            f"HostName {server.host}",
            f"Port {server.port}",
            f"User {server.username}",
            f"IdentityFile {server.identity}",
            f"UserKnownHostsFile {server.known_hosts}",
            "IdentitiesOnly yes",
            "StrictHostKeyChecking yes",
            "BatchMode yes",
        ]
        path.write_text("\n".join(lines) + "\n")
        return path


def demand_programs() -> None:
    """Raise MeasuringError when a peer is not installed."""
    missing = [name for name in ("rclone", "igzip", "scp", "gzip") if shutil.which(name) is None]
    if missing:
        raise MeasuringError(f"not installed: {', '.join(missing)} (run `make bench`)")
