"""Properties files of the old job, and a host that has what they name."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from support.daemon import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Mapping

PROPERTIES = Path(__file__).parents[1] / "data" / "old_job"
CUSTOMERS = "# customer|secs_id|src_feed\neLUX|1|HOL_01\nSKYROAM|2|HOL_01\n\nTele2|3|SNG_01\n"


class OldJob:
    """The old job's host, below one directory; `home` has what ssh of its user needs."""

    def __init__(self, root: Path) -> None:
        self.root = root / "MNAAS"
        self.home = root / "home"
        (self.root / "conf").mkdir(parents=True)
        (self.root / "conf" / "customers.list").write_text(CUSTOMERS)
        ssh = self.home / ".ssh"
        ssh.mkdir(parents=True)
        (ssh / "id_ed25519").write_text("a key")
        (ssh / "id_ed25519").chmod(0o600)
        (ssh / "known_hosts").write_text("edge2.example ssh-ed25519 AAAA")

    def make(self, *directories: str) -> None:
        for each in directories:
            (self.root / each).mkdir(parents=True)

    def properties(self, name: str) -> Path:
        """Return a file that says where this host is, then sources one of `tests/data`."""
        path = self.root / "conf" / name
        path.write_text(f"HOME={self.home}\nMNAAS_ROOT={self.root}\n. {PROPERTIES / name}\n")
        return path

    def dump(self, name: str) -> Path:
        """Make a dump as an operator does."""
        path = self.root / "conf" / f"{name}.dump"
        command = ["bash", "-c", 'source "$1" >/dev/null; declare -p', "bash"]
        shown = subprocess.run(
            [*command, self.properties(name)],
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"]},
            check=True,
        )
        path.write_bytes(shown.stdout)
        return path


def import_job(
    *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAMS / "backupd", "import-job", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(environ or {})},
        check=False,
    )
