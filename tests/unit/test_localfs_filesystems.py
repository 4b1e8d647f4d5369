from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from backupd.localfs.filesystems import filesystem_type


@pytest.mark.parametrize("path", ["/proc/self", "/dev/pts", "/sys", "/"])
def test_agrees_with_findmnt(path: str) -> None:
    told = subprocess.run(
        ["findmnt", "--noheadings", "--output=FSTYPE", f"--target={path}"],
        check=True,
        capture_output=True,
        text=True,
    )

    assert filesystem_type(Path(path)) == told.stdout.split()[-1]


def test_what_is_not_there_lies_where_its_parent_lies() -> None:
    assert filesystem_type(Path("/proc/not/there/yet.db")) == "proc"


def test_a_file_lies_where_its_directory_lies(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()

    assert filesystem_type(tmp_path / "ledger.db") == filesystem_type(tmp_path)


def test_symlinks_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")

    assert filesystem_type(tmp_path / "link" / "ledger.db") == "proc"
