"""Looking at a file and its companion: nothing but a regular file is ever opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from backupd.core.companions import MAX_BYTES
from backupd.core.records import Identity
from backupd.intake.settling import look_at
from backupd.localfs.directory import Directory
from support.intake import a_settling_file

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.intake.readiness import Look


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "eLUX_1.csv"
    path.write_text("a\n")
    return path


@pytest.fixture
def companion(tmp_path: Path) -> Path:
    return tmp_path / "eLUX_1.cksum"


def looked(data: Path, companion: Path) -> Look:
    look = look_below(data, companion)
    assert look is not None
    return look


def look_below(data: Path, companion: Path | None) -> Look | None:
    """Look at a file below its directory's directory."""
    file = a_settling_file(
        relative_path=f"{data.parent.name}/{data.name}",
        companion_path=str(companion) if companion else None,
    )
    with Directory.at(str(data.parent.parent)) as root:
        return look_at(root, file)


def test_no_file_is_nothing(tmp_path: Path, companion: Path) -> None:
    assert look_below(tmp_path / "none", companion) is None
    (tmp_path / "file").touch()
    assert look_below(tmp_path / "file" / "below", None) is None


def test_a_companion_is_read_with_the_identity_it_had(data: Path, companion: Path) -> None:
    assert looked(data, companion).companion is None
    companion.write_bytes(b"1 2 \xff\n")
    look = looked(data, companion)
    assert look.identity == Identity.of(data.stat())
    assert look.companion is not None
    assert look.companion.identity == Identity.of(companion.stat())
    assert look.companion.text == "1 2 \\xff\n"


def test_a_companion_that_never_ends_is_read_up_to_the_bound(data: Path, companion: Path) -> None:
    companion.write_bytes(b"1" * (MAX_BYTES + 1))
    found = looked(data, companion).companion
    assert found is not None
    assert len(found.text) == MAX_BYTES


def test_a_companion_whose_reading_fails_may_be_read_later() -> None:
    """The kernel answers EIO to whoever reads a process's memory at address 0."""
    file = a_settling_file(relative_path="stat", companion_path=f"/proc/{os.getpid()}/mem")
    with Directory.at(f"/proc/{os.getpid()}") as root:
        look = look_at(root, file)
    assert look is not None
    assert look.companion is not None
    assert look.companion.problem == "cannot be read: Input/output error"
    assert look.companion.may_pass


@pytest.mark.parametrize("kind", ["a symbolic link", "a FIFO", "a directory"])
def test_a_companion_that_is_no_regular_file_is_told_of(
    data: Path, companion: Path, kind: str
) -> None:
    if kind == "a FIFO":
        os.mkfifo(companion)
    elif kind == "a directory":
        companion.mkdir()
    else:
        companion.symlink_to(data)
    found = looked(data, companion).companion
    assert found is not None
    assert (found.problem, found.text) == (f"is {kind}", "")


def test_a_file_that_became_a_link_is_told_of(data: Path, companion: Path) -> None:
    data.rename(data.with_name("moved"))
    data.symlink_to("moved")
    assert looked(data, companion).problem == "it is a symbolic link now"
