"""Another revision of backupd, to be measured beside this one."""

from __future__ import annotations

import io
import subprocess
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench import ROOT
from bench.process import MeasuringError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Revision:
    """Its code. It runs on the packages that are installed for this one."""

    name: str
    code: Path


def check_out(name: str, directory: Path) -> Revision:
    """Write a revision's code below a directory. Raises MeasuringError where there is none."""
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", name, "daemon"]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        reason = made.stderr.decode(errors="replace").strip()
        raise MeasuringError(f"--against {name}: {reason}")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as code:
        code.extractall(directory, filter="data")
    return Revision(name, directory / "daemon")
