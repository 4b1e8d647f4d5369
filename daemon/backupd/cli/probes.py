"""The probes of `check --probe`: everything that the daemon leans on, tried for real."""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import socket
import sqlite3
import stat
import tempfile
from contextlib import closing, suppress
from functools import cached_property, partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from backupd.archive import open_archive
from backupd.cli import render
from backupd.config import answering, warehouse_answers
from backupd.config.sections import LocalArchiveSection
from backupd.control import DaemonAbsentError, ask_daemon
from backupd.core.calls import DoesNotAnswerError
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError
from backupd.core.names import escaped
from backupd.core.ports import Probe
from backupd.core.threads import DirectoryThreads
from backupd.ledger import LedgerReader, lock, places
from backupd.localfs.directory import CREATE, Directory
from backupd.localfs.filesystems import is_directory
from backupd.localfs.limits import Capability, has
from backupd.warehouse import open_refresher, open_warehouse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.config.sections import Config, MetricsSection, WarehouseSection
    from backupd.core.records import Feed

PLACES = (Dependency.ARCHIVE, Dependency.WAREHOUSE)  # as the ledger names them


async def all_probes(config: Config) -> list[Probe]:
    """Try the ledger, the sockets, each feed's directory, the warehouse, Impala and the archive.

    Directories that had to be made for it are removed: where root tries, they would be root's, and
    keep out the daemon, which makes its own.
    """
    missing = _missing(config)
    try:
        return await _all_probes(config)
    finally:
        for path in missing:
            with suppress(OSError):  # another daemon's files may be there by now
                path.rmdir()


def _missing(config: Config) -> list[Path]:
    """Return the directories of warehouse and archive that are not there yet, deepest first."""
    wanted: list[Path] = []
    if config.warehouse.kind == "embedded":
        root = config.warehouse.embedded_root
        wanted += [root / "production", root / "staging"]
    if isinstance(config.archive, LocalArchiveSection):
        wanted += [Path(config.archive.root, feed.archive_directory) for feed in config.feeds]
    reached = [each for each in wanted if not any(map(each.is_relative_to, config.silent))]
    above = {path for each in reached for path in (each, *each.parents)}
    return sorted((path for path in above if not is_directory(path)), reverse=True)


async def _all_probes(config: Config) -> list[Probe]:
    probes = await asyncio.to_thread(_local_probes, config)
    probes += await _probe_feeds(config)
    marks: dict[str, str | None] = dict.fromkeys(PLACES)
    with suppress(BackupdError):  # a ledger that is not there, or not to be read, has its own line
        marks = known_marks(config.ledger.path)
    warehouse = open_warehouse(config.warehouse, mark=marks[Dependency.WAREHOUSE])
    archive = open_archive(config.archive)
    directories = sorted({feed.archive_directory for feed in config.feeds})
    try:
        if warehouse_answers(config):
            probes += await warehouse.probe()
        else:
            probes.append(_unanswered(Dependency.WAREHOUSE, str(config.warehouse.embedded_root)))
        inboxes = Inboxes(answering(config))
        probes += await archive.probe(directories, marks[Dependency.ARCHIVE], inboxes.shows_up)
    finally:
        await warehouse.aclose()
        await archive.aclose()
    return probes + await _probe_impala(config.warehouse)


async def _probe_feeds(config: Config) -> list[Probe]:
    deletes = config.cleanup.action == "delete" and config.environment != "dev"
    threads = DirectoryThreads("probe")

    async def probe(feed: Feed) -> Probe:
        with suppress(DoesNotAnswerError):
            if feed.directory not in config.silent:
                return await threads.run(feed.directory, partial(probe_feed, feed, deletes=deletes))
        return _unanswered(f"feed {feed.name}", feed.directory)

    return [await probe(feed) for feed in config.feeds]


def _unanswered(subject: str, path: str) -> Probe:
    hint = f"findmnt -T {shlex.quote(path)} shows its mount: look whether its server is up"
    return Probe(subject, ok=False, detail=f"{path}: it does not answer", hint=hint)


async def _probe_impala(section: WarehouseSection) -> list[Probe]:
    """Have the production table refreshed, which may be done at any moment."""
    refresher = open_refresher(section)
    if refresher is None:
        return []
    subject = f"Impala's REFRESH of {refresher.table}"
    try:
        await refresher.refresh(refresher.table, ())
    except BackupdError as error:
        return [Probe(subject, ok=False, detail=str(error), hint=error.hint)]
    finally:
        await refresher.aclose()
    return [Probe(subject, ok=True, detail="done")]


def known_marks(ledger: Path) -> dict[str, str | None]:
    """Return the marks of `PLACES` that the ledger knows, None of others. Raises LedgerError."""
    reader = LedgerReader(ledger)
    try:
        return {name: reader.ask(places.place, name) for name in PLACES}
    finally:
        reader.close()


class Inboxes:
    """The directories of the feeds, to see whether a file of the archive is one of theirs."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = feeds

    def shows_up(self, name: str) -> str | None:
        """Return the directory of a feed in which a file of this name stands; None: in none."""
        found = (each for each in self._directories if os.path.lexists(f"{each}/{name}"))
        return next(found, None)

    @cached_property
    def _directories(self) -> list[str]:
        return [each for feed in self._feeds for each in _directories_of(feed)]


def _directories_of(feed: Feed) -> list[str]:
    if not feed.recursive:
        return [feed.directory]
    return [directory for directory, _, _ in os.walk(feed.directory)]


def show(probes: Sequence[Probe]) -> None:
    """Print a table; what to do about a failure stands under its detail."""
    table = render.table("what", "", "result")
    for probe in probes:
        text = probe.detail if not probe.hint else f"{probe.detail}\n→ {probe.hint}"
        mark = Text("ok", "green") if probe.ok else Text("FAILED", "bold red")
        table.add_row(Text(probe.subject), mark, Text(text))
    render.console().print(table)


def _local_probes(config: Config) -> list[Probe]:
    return [_probe_ledger(config.ledger.path), *listening_probes(config)]


def _probe_ledger(path: Path) -> Probe:
    subject = f"ledger {path}"
    try:
        if path.exists():
            LedgerReader(path).close()
        if lock.held(path):
            return Probe(subject, ok=True, detail="read; a running backupd holds and writes it")
        _write_a_database(path.parent)
    except (OSError, sqlite3.Error, BackupdError) as error:
        hint = getattr(error, "hint", "") or f"let user {os.geteuid()} write {path.parent}"
        return Probe(subject, ok=False, detail=str(error), hint=hint)
    return Probe(subject, ok=True, detail="a database in its directory was written and read back")


def _write_a_database(directory: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix=".backupd-probe-", dir=directory) as place,
        closing(sqlite3.connect(Path(place) / "probe.db", isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE probe AS SELECT 1 AS one")
        database.execute("SELECT one FROM probe").fetchone()


_TRIED_WITH = b"backupd was here\n"


def probe_feed(feed: Feed, *, deletes: bool) -> Probe:
    """List the directory; write and remove a file there if the feed's files are to be deleted."""
    subject, done = f"feed {feed.name}", f"{feed.directory}: listed"
    try:
        with Directory.at(os.path.realpath(feed.directory)) as directory:
            next(directory.names(), None)
            if deletes:
                _write_and_remove(directory)
                done += ", written, removed"
                if found := _not_removable(directory):
                    return _sticky(subject, feed.directory, found)
    except OSError as error:
        return Probe(
            subject,
            ok=False,
            detail=f"{feed.directory}: {error.strerror}",
            hint=f"let user {os.geteuid()} read and write it",
        )
    return Probe(subject, ok=True, detail=done)


def _write_and_remove(directory: Directory) -> None:
    name = f".backupd-probe-{secrets.token_hex(4)}.tmp"
    descriptor = directory.open(name, CREATE)
    try:
        os.write(descriptor, _TRIED_WITH)
    finally:
        os.close(descriptor)
        directory.unlink(name)


def _not_removable(directory: Directory) -> str | None:
    """Return a file that the sticky bit keeps us from removing: somebody else's. None: none."""
    place, user = directory.stat(), os.geteuid()
    if not place.st_mode & stat.S_ISVTX or place.st_uid == user or has(Capability.FOWNER):
        return None
    for entry in directory.names():
        with suppress(FileNotFoundError):
            if entry.stat(follow_symlinks=False).st_uid != user:
                return entry.name
    return None


def _sticky(subject: str, directory: str, name: str) -> Probe:
    return Probe(
        subject,
        ok=False,
        detail=f"{directory} has the sticky bit: {escaped(name)} can only be removed by its owner",
        hint=f"chmod -t {directory}, or have its files belong to user {os.geteuid()}",
    )


_MADE_BY_SYSTEMD = Path("/run/backupd")  # RuntimeDirectory= of the unit
_ANSWER_WITHIN = 5.0  # seconds
_OUR_METRICS = b"backupd_"  # how each of our metrics begins


def listening_probes(config: Config) -> Iterator[Probe]:
    """Yield whether the daemon answers, or could listen, on each of its addresses."""
    runs = lock.held(config.ledger.path)
    yield _probe_socket(config.control.socket, runs=runs)
    if config.metrics is not None:
        yield _probe_port(config.metrics, runs=runs)


def _probe_socket(path: Path, *, runs: bool) -> Probe:
    subject = f"control socket {path}"
    try:
        pid = ask_daemon(path, {"verb": "status"})["pid"]
    except DaemonAbsentError:
        return _not_answered(subject, path, runs=runs)
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    if runs:
        return Probe(subject, ok=True, detail=f"the running backupd (pid {pid}) answers")
    return Probe(
        subject,
        ok=False,
        detail=f"another backupd (pid {pid}), with another ledger, answers on it",
        hint="give each daemon a control.socket of its own",
    )


def _not_answered(subject: str, path: Path, *, runs: bool) -> Probe:
    if runs:
        hint = "restart backupd: somebody removed its socket, or changed control.socket since"
        return Probe(subject, ok=False, detail="the running backupd does not answer", hint=hint)
    if os.path.lexists(path) and not path.is_socket():
        hint = "move it away, or set control.socket to another path"
        return Probe(subject, ok=False, detail="something that is not a socket is there", hint=hint)
    if path.parent == _MADE_BY_SYSTEMD and not path.parent.is_dir():
        return Probe(subject, ok=True, detail="free; systemd makes its directory")
    if not path.parent.is_dir():
        hint = f"make {path.parent}, or set control.socket to another path"
        return Probe(subject, ok=False, detail="its directory is not there", hint=hint)
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        hint = f"let user {os.geteuid()} write {path.parent}"
        return Probe(subject, ok=False, detail="its directory is not writable", hint=hint)
    return Probe(subject, ok=True, detail="free")


def _probe_port(section: MetricsSection, *, runs: bool) -> Probe:
    address = section.host, section.port
    subject = f"metrics {section.host}:{section.port}"
    if runs and _is_ours(address):
        return Probe(subject, ok=True, detail="the running backupd answers")
    try:
        family = socket.getaddrinfo(*address)[0][0]
        socket.create_server(address, family=family).close()
    except OSError as error:
        hint = "end what listens there (ss -ltnp), or set metrics.listen to another address"
        return Probe(subject, ok=False, detail=error.strerror or str(error), hint=hint)
    if runs:
        hint = "restart backupd: it began with another metrics.listen"
        return Probe(subject, ok=False, detail="the running backupd does not answer", hint=hint)
    return Probe(subject, ok=True, detail="free")


def _is_ours(address: tuple[str, int]) -> bool:
    with (
        suppress(OSError, HTTPException),
        closing(HTTPConnection(*address, timeout=_ANSWER_WITHIN)) as connection,
    ):
        connection.request("GET", "/metrics")
        return _OUR_METRICS in connection.getresponse().read()
    return False
