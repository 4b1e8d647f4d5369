"""A daemon with four feeds and one archive, of whose directories some stop taking files."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from backupd.core.places import MARK_FILE
from backupd.core.stages import Stage, Status
from backupd.ledger import LedgerReader, incidents
from support.daemon import Host, over_sftp, until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from backupd.core.incidents import Incident
    from backupd.core.records import FileRecord
    from support.sshd import SshServer

HOMES = {"one": "pair/one", "two": "pair/two", "three": "three", "four": "deep/down/four"}
# Root meets permissions only without these.
AS_ANYBODY = ("/usr/bin/setpriv", "--bounding-set=-dac_override,-dac_read_search")
LAUNCHER: Sequence[str] = AS_ANYBODY if os.geteuid() == 0 else ()


class Site(Host):
    """Its feeds are named as in HOMES, their directories in the archive are the values there."""

    def __init__(self, root: Path, server: SshServer | None = None) -> None:
        changes: dict[str, str | None] = {
            "feeds.traffic.customers": None,
            "feeds.traffic.directory": None,
            "feeds.traffic.pattern": None,
            "feeds.traffic.header_lines": None,
            "feeds.traffic.archive_directory": None,
        }
        for feed, home in HOMES.items():
            (root / "in" / feed).mkdir(parents=True)
            changes |= {
                f"feeds.{feed}.customers": '["c"]',
                f"feeds.{feed}.directory": f'"TMP/in/{feed}"',
                f"feeds.{feed}.pattern": '"*.csv"',
                f"feeds.{feed}.archive_directory": f'"{home}"',
            }
        if server is not None:
            changes |= over_sftp(server, root / "archive")
        super().__init__(root, changes)
        self._delivered = 0

    def bring(self, count: int = 1, size: int = 10, feeds: Collection[str] = tuple(HOMES)) -> None:
        """Deliver so many files to each of these feeds."""
        for _ in range(count):
            for feed in feeds:
                self._delivered += 1
                whole = self.root / "in" / feed / f".{self._delivered}"
                whole.write_bytes(os.urandom(size))
                whole.rename(whole.with_name(f"{self._delivered:04d}.csv"))

    def files_of(self, feeds: Collection[str]) -> list[FileRecord]:
        return [file for file in self.files() if file.file_type in feeds]

    def all_through(self, feeds: Collection[str] = tuple(HOMES)) -> None:
        """Wait until all that was delivered to these feeds is done."""
        left = [self.root / "in" / feed for feed in feeds]
        until(
            lambda: (
                not any(any(each.iterdir()) for each in left)
                and all(file.status is Status.DONE for file in self.files_of(feeds))
            ),
            lambda: self.told_of(feeds),
        )

    def held_up(self, feeds: Collection[str], count: int) -> None:
        """Wait until so many files of each of these feeds wait to be shipped."""
        until(
            lambda: all(
                sum(file.stage is Stage.SHIP for file in self.files_of([feed])) == count
                for feed in feeds
            ),
            lambda: self.told_of(feeds),
        )

    def told_of(self, feeds: Collection[str]) -> str:
        files = [file for file in self.files_of(feeds) if file.status is not Status.DONE]
        told = [f"{f.feed} {f.stage} {f.status} {f.attempts} {f.reason}" for f in files[:9]]
        return "\n".join([*told, *(str(each) for each in self.incidents()), self.log()[-5000:]])

    def log(self) -> str:
        """Return what the daemon has said; a single run leaves no log."""
        log = self.root / "log"
        return log.read_text() if log.exists() else ""

    def incidents(self) -> list[Incident]:
        """Return all that there ever were."""
        reader = LedgerReader(self.root / "ledger.db")
        try:
            return [case.incident for case in reader.ask(incidents.all_cases)]
        finally:
            reader.close()

    def spent(self, feeds: Collection[str]) -> list[str]:
        """Return what any waiting file of these feeds has burnt, and what was ever parked."""
        burnt = [
            f"{file.path}: {file.attempts} {file.reason}"
            for file in self.files_of(feeds)
            if file.status is not Status.RUNNING and file.attempts
        ]
        return burnt + [line for line in self.log().splitlines() if "file parked" in line]


@contextlib.contextmanager
def mode(directory: Path, bits: int) -> Iterator[None]:
    """The directory has other rights."""
    before = directory.stat().st_mode
    directory.chmod(bits)
    try:
        yield
    finally:
        directory.chmod(before)


@contextlib.contextmanager
def file_in_its_place(directory: Path) -> Iterator[None]:
    """Something that is no directory stands there."""
    aside = directory.with_name(f"{directory.name}.aside")
    directory.rename(aside)
    directory.write_text("in the way")
    try:
        yield
    finally:
        directory.unlink()
        aside.rename(directory)


@contextlib.contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """It is mounted so that nothing can be written."""
    _mount("--bind", directory, directory)
    try:
        _mount("-o", "remount,bind,ro", directory)
        yield
    finally:
        _unmount(directory)


@contextlib.contextmanager
def not_made(directory: Path) -> Iterator[None]:
    """It is missing, and cannot be made in the one above it."""
    aside = directory.parents[1] / "aside"
    directory.rename(aside)
    try:
        with mode(directory.parent, 0o555):
            yield
    finally:
        aside.rename(directory)


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """It has an empty disk of its own, of a MiB; an archive's root with its mark."""
    with _disk_for(directory) as disk, _shown_at(directory, disk):
        yield


@contextlib.contextmanager
def full(directory: Path) -> Iterator[None]:
    """Its disk is full from the first moment: nobody has a page of it to give back."""
    with _disk_for(directory) as disk:
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", 0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        with _shown_at(directory, disk):
            yield


@contextlib.contextmanager
def _disk_for(directory: Path) -> Iterator[Path]:
    disk = directory.with_name(f"{directory.name}.disk")
    disk.mkdir()
    _mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", disk)
    mark = directory / MARK_FILE
    if mark.exists():
        (disk / MARK_FILE).write_bytes(mark.read_bytes())
    try:
        yield disk
    finally:
        _unmount(disk)
        disk.rmdir()


@contextlib.contextmanager
def _shown_at(directory: Path, disk: Path) -> Iterator[None]:
    _mount("--bind", disk, directory)
    try:
        yield
    finally:
        _unmount(directory)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def _unmount(directory: Path) -> None:
    subprocess.run(["umount", "--lazy", str(directory)], check=True)
