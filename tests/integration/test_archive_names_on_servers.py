"""Names in the archive, on every kind of server: another file's content is never replaced."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import pytest

from backupd.archive import SendStream, open_archive
from backupd.archive.sftp.trial import HOST
from backupd.core.archive_names import versioned
from backupd.core.errors import DependencyDownError, TransientError, UnknownOutcomeError
from backupd.core.places import MARK_FILE
from backupd.stages import FeedThreads, Ship, ShipRules
from support.archives import CONNECTIONS, archive_section
from support.files import registered, task_of
from support.odd_sftp import ROOMY, OddServer, serving
from support.sftp_servers import SftpServer, running_dropbear, running_proftpd, running_rclone
from support.sshd import SshServer, running_sshd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager

    import asyncssh

    from backupd.config.sections import ArchiveSection
    from backupd.core.ports import Archive
    from backupd.core.records import FileRecord, Receipt

NAME = "shared/a.csv.gz"


class Kind(NamedTuple):
    """A server: what it does, and how names are therefore taken."""

    named_by: str
    running: Callable[[Path], AbstractContextManager[SshServer | SftpServer]] | None = None
    odd: dict[str, object] | None = None


KINDS = {
    "local": Kind("link"),
    "openssh": Kind("rename", running_sshd),
    "dropbear": Kind("link", running_dropbear),
    "proftpd": Kind("link", running_proftpd),
    "refuses": Kind("link", odd={}),
    "refuses, no links": Kind("rename", odd={"links": "none"}),
    "replaces": Kind("link", odd={"rename_replaces": True}),
    "replaces, no links": Kind("claim", odd={"rename_replaces": True, "links": "none"}),
    "replaces, false links": Kind("claim", odd={"rename_replaces": True, "links": "false"}),
    "replaces, links too": Kind("claim", odd={"rename_replaces": True, "links": "replacing"}),
}


class Site(NamedTuple):
    """An archive, and where its files really are."""

    archive: Archive
    root: Path
    named_by: str

    def files(self) -> dict[str, bytes]:
        """All that is there, by the name below the root."""
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths}

    def put_foreign(self, name: str, content: bytes) -> None:
        """Someone else's file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


async def enter(kind: Kind, directory: Path, stack: AsyncExitStack) -> ArchiveSection:
    if kind.running is not None:
        server = stack.enter_context(kind.running(directory / "server"))
        return archive_section(directory / "root", server, verify="readback")
    if kind.odd is not None:
        odd = type("Odd", (OddServer,), {"disk": dict(ROOMY), **kind.odd})
        return await stack.enter_async_context(serving(directory, odd))
    return archive_section(directory / "root")


@pytest.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    kind = KINDS[request.param]
    async with AsyncExitStack() as stack:
        archive = open_archive(await enter(kind, tmp_path, stack))
        yield Site(archive, tmp_path / "root", kind.named_by)
        await archive.aclose()


def source(directory: Path, name: str, content: bytes, **changes: object) -> FileRecord:
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(content)
    return registered(directory / name, archive_name=NAME, **changes)


async def ship(archive: Archive, file: FileRecord, first_try: int = 1) -> Receipt:
    """Ship with compression off, trying again as the worker does."""
    rules = ShipRules(compress=False)
    stage = Ship(archive, partial(SendStream, level=1), FeedThreads("feeds"), rules)
    for attempt in range(first_try, first_try + 20):
        task = task_of(replace(file, claims=attempt))
        try:
            result = await stage(task)
        except TransientError:
            await asyncio.sleep(0.05 * attempt)
            continue
        assert result.receipt is not None
        return result.receipt
    raise AssertionError("twenty tries were not enough")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_how_the_name_was_taken_stands_in_the_receipt(site: Site, tmp_path: Path) -> None:
    receipt = await ship(site.archive, source(tmp_path, "in/a.csv", b"content"))
    assert receipt.named_by == site.named_by
    assert receipt.sent_sha256 == receipt.remote_sha256 == digest(b"content")
    assert site.files() == {NAME: b"content"}


async def test_files_that_want_one_name_at_once_all_get_one(site: Site, tmp_path: Path) -> None:
    contents = [f"content {number}".encode() * 100 for number in range(6)]
    files = [
        source(tmp_path, f"in{number}/a.csv", content, id=f"file{number}")
        for number, content in enumerate(contents)
    ]
    receipts = await asyncio.gather(*(ship(site.archive, file) for file in files))
    held = site.files()
    assert sorted(held.values()) == sorted(contents)
    assert [held[receipt.archive_name] for receipt in receipts] == contents
    versions = {versioned(NAME, digest(content)) for content in contents}
    assert set(held) - versions == {NAME}


async def test_someone_elses_file_stays_as_it_is(site: Site, tmp_path: Path) -> None:
    site.put_foreign(NAME, b"foreign")
    receipt = await ship(site.archive, source(tmp_path, "in/a.csv", b"content"))
    other = versioned(NAME, digest(b"content"))
    assert receipt.archive_name == other
    assert site.files() == {NAME: b"foreign", other: b"content"}


async def test_a_directory_under_the_name_stays_as_it_is(site: Site, tmp_path: Path) -> None:
    site.put_foreign(f"{NAME}/inside", b"foreign")
    receipt = await ship(site.archive, source(tmp_path, "in/a.csv", b"content"))
    assert receipt.archive_name == versioned(NAME, digest(b"content"))
    assert site.files()[f"{NAME}/inside"] == b"foreign"


async def test_a_ledger_begun_anew_finds_its_files_and_replaces_none(
    site: Site, tmp_path: Path
) -> None:
    file = source(tmp_path, "in/a.csv", b"content", id="first")
    await ship(site.archive, file)
    again = await ship(site.archive, replace(file, id="again"))
    assert (again.archive_name, again.named_by) == (NAME, "")
    changed = await ship(site.archive, source(tmp_path, "in/a.csv", b"changed", id="changed"))
    assert site.files() == {NAME: b"content", changed.archive_name: b"changed"}


async def test_the_probe_tells_how_names_are_taken_and_leaves_nothing(site: Site) -> None:
    words = {"rename": "by a rename", "link": "by a hard link", "claim": ".claim"}
    lines = await site.archive.probe(["shared"])
    assert [line for line in lines if not line.ok] == []
    (line,) = [line for line in lines if line.subject == "archive names"]
    assert words[site.named_by] in line.detail
    assert site.files() == {}


# -- nothing is safe ---------------------------------------------------------------------------


async def refused_by(archive: Archive, file: FileRecord) -> None:
    with pytest.raises(DependencyDownError, match="without replacing") as caught:
        await ship(archive, file)
    assert caught.value.dependency == "archive"
    assert caught.value.hint


async def test_a_server_that_can_keep_no_name_is_refused(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        kind = Kind("", odd={
            "rename_replaces": True, "links": "none", "creates_exclusively": False,
        })  # fmt: skip
        archive = open_archive(await enter(kind, tmp_path, stack))
        site = Site(archive, tmp_path / "root", "")
        site.put_foreign(NAME, b"foreign")
        await refused_by(archive, source(tmp_path, "in/a.csv", b"content"))
        (line,) = [line for line in await archive.probe(["shared"]) if not line.ok]
        assert "without replacing" in line.detail
        assert site.files() == {NAME: b"foreign"}
        await archive.aclose()


async def test_rclone_is_refused(tmp_path: Path) -> None:
    """It ignores that a file has to be new, and tells of hard links that it does not make."""
    with running_rclone(tmp_path / "server") as server:
        archive = open_archive(
            archive_section(Path(server.remote_root, "root"), server, verify="readback")
        )
        site = Site(archive, server.root / "root", "")
        site.put_foreign(NAME, b"foreign")
        await refused_by(archive, source(tmp_path, "in/a.csv", b"content"))
        assert site.files() == {NAME: b"foreign"}
        await archive.aclose()


# -- trials ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["shipped", "identified"])
@pytest.mark.parametrize("site", [kind for kind in KINDS if kind != "local"], indirect=True)
async def test_what_the_trial_of_a_killed_process_left_is_removed(
    site: Site, tmp_path: Path, moment: str
) -> None:
    gone = await asyncio.create_subprocess_exec("true")
    await gone.wait()
    kept = [
        f".backupd-{HOST}-{os.getpid()}-{'0' * 16}.part",  # it lives
        f".backupd-{'0' * 8}-{gone.pid}-{'0' * 16}.part",  # on another host
        f".backupd-{HOST}-{gone.pid}.csv",
    ]
    for name in (f".backupd-{HOST}-{gone.pid}-{'0' * 16}.part", *kept):
        site.put_foreign(name, b"")
    if moment == "shipped":
        await ship(site.archive, source(tmp_path, "in/a.csv", b"content"))
        assert set(site.files()) == {NAME, *kept}
    else:
        await site.archive.identify(None, ())
        assert set(site.files()) == {MARK_FILE, *kept}


@pytest.mark.parametrize("links", ["real", "none"])
async def test_where_the_root_is_closed_the_directory_is_tried(tmp_path: Path, links: str) -> None:
    values = {"disk": dict(ROOMY), "rename_replaces": True, "links": links}
    odd = type("Odd", (OddServer,), values | {"closed": tmp_path / "root"})
    (tmp_path / "root/shared").mkdir(parents=True)
    async with serving(tmp_path, odd) as section:
        archive = open_archive(section)
        receipt = await ship(archive, source(tmp_path, "in/a.csv", b"content"))
        assert receipt.named_by == ("link" if links == "real" else "claim")
        assert Site(archive, tmp_path / "root", "").files() == {NAME: b"content"}
        await archive.aclose()


# -- claims ------------------------------------------------------------------------------------


@pytest.fixture
async def claiming(tmp_path: Path) -> AsyncIterator[tuple[Site, type[OddServer]]]:
    odd = type("Odd", (OddServer,), {
        "disk": dict(ROOMY), "rename_replaces": True, "links": "none",
    })  # fmt: skip
    async with serving(tmp_path, odd) as section:
        archive = open_archive(section)
        yield Site(archive, tmp_path / "root", "claim"), odd
        await archive.aclose()


CLAIM = "shared/.a.csv.gz.claim"


async def put(archive: Archive, part_id: str, name: str = NAME) -> None:
    async with archive.upload(name, part_id, 7) as upload:
        await upload.write(b"content")
        await upload.publish()


async def test_another_files_claim_is_left_alone_and_named(
    claiming: tuple[Site, type[OddServer]],
) -> None:
    site, _ = claiming
    site.put_foreign(CLAIM, b"other")
    with pytest.raises(TransientError, match=r"\.a\.csv\.gz\.claim") as caught:
        await put(site.archive, "mine.1")
    assert "remove it" in caught.value.hint
    assert site.files() == {CLAIM: b"other"}
    await site.archive.discard_parts(NAME, ["mine.1"])
    assert site.files() == {CLAIM: b"other"}


async def test_the_files_own_claim_is_taken_over(claiming: tuple[Site, type[OddServer]]) -> None:
    site, _ = claiming
    site.put_foreign(CLAIM, b"mine")
    await put(site.archive, "mine.2")
    assert site.files() == {NAME: b"content"}


async def test_what_a_lost_answer_leaves_is_removed_by_the_next_try(
    claiming: tuple[Site, type[OddServer]], tmp_path: Path
) -> None:
    site, odd = claiming
    for number in range(2 * CONNECTIONS):  # each of them is tried before it breaks
        await put(site.archive, "any.1", name=f"{number}.csv")
    odd.rename_breaks_connection = True
    with pytest.raises(UnknownOutcomeError):
        await put(site.archive, "mine.1")
    assert {NAME, CLAIM} <= set(site.files())
    odd.rename_breaks_connection = False
    file = source(tmp_path, "in/a.csv", b"content", id="mine")
    receipt = await ship(site.archive, file, first_try=2)
    assert receipt.archive_name == NAME
    assert [name for name in site.files() if name.startswith("shared/")] == [NAME]


async def test_a_connection_lost_in_the_trial_leaves_nothing_for_long(
    claiming: tuple[Site, type[OddServer]],
) -> None:
    site, odd = claiming
    odd.rename_breaks_connection = True
    with pytest.raises(DependencyDownError):
        await put(site.archive, "mine.1")
    odd.rename_breaks_connection = False
    await site.archive.discard_parts(NAME, ["mine.1"])
    await put(site.archive, "mine.2")
    assert site.files() == {NAME: b"content"}


async def test_nothing_is_opened_that_is_not_there(tmp_path: Path) -> None:
    """Where an open fails for want of a file, Apache MINA gives out handles that are in use."""
    missing: list[str] = []

    class Looking(OddServer):
        disk: ClassVar[dict[str, int]] = dict(ROOMY)

        async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
            try:
                return await super().open(path, pflags, attrs)
            except FileNotFoundError:
                missing.append(os.fsdecode(path))
                raise

    async with serving(tmp_path, Looking) as section:
        archive = open_archive(section)
        await archive.identify(None, [])
        missing.clear()  # its mark is looked for once
        async with archive.upload("new/below/a.csv", "f1.1", 3) as upload:
            await upload.write(b"abc")
            await upload.publish()
        await archive.discard_parts("new/below/a.csv", ["f1.1", "f1.2"])
        assert await archive.checksum("new/below/b.csv") is None
        await archive.aclose()
    assert missing == []
