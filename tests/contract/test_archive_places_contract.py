"""What every archive does about its mark, and about links."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.archive import marks
from backupd.core.errors import (
    DependencyDownError,
    NameTakenError,
    PermanentError,
    TransientError,
)
from backupd.core.places import MARK_FILE, Witness, mark_in, mark_text, new_mark
from backupd.core.ports import NOT_A_FILE
from backupd.core.records import Identity
from support.archives import ARCHIVES_ON_DISKS
from support.fake_archive import FakeArchive

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backupd.core.ports import Archive, Published


@pytest.fixture(autouse=True)
def looked_at_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "LOOK_KEPT", -1.0)


async def put(archive: Archive, name: str, content: bytes = b"content") -> Published:
    async with archive.upload(name, "id.1", len(content)) as upload:
        await upload.write(content)
        return await upload.publish()


class Disk:
    """What an archive has on its disk, seen and changed from beside it."""

    def __init__(self, archive: Archive, root: Path) -> None:
        self._fake = archive.files if isinstance(archive, FakeArchive) else None
        self._root = root

    def files(self) -> dict[str, bytes]:
        if self._fake is not None:
            return dict(self._fake)
        paths = [path for path in self._root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self._root)): path.read_bytes() for path in paths}

    def write(self, name: str, content: bytes) -> None:
        if self._fake is not None:
            self._fake[name] = content
            return
        (self._root / name).parent.mkdir(parents=True, exist_ok=True)
        (self._root / name).write_bytes(content)

    def remove(self, name: str) -> None:
        if self._fake is not None:
            del self._fake[name]
        else:
            (self._root / name).unlink()


@pytest.fixture
def disk(archive: Archive, root: Path) -> Disk:
    return Disk(archive, root)


async def another_place(act: Awaitable[object], words: str) -> None:
    with pytest.raises(DependencyDownError, match=words) as caught:
        await act
    assert caught.value.dependency == "archive"
    look, _, _ = caught.value.hint.partition("; if it was moved on purpose: backupd check --new")
    assert look.startswith("look ")


# -- the mark ----------------------------------------------------------------------------------


async def test_the_first_use_leaves_a_mark_and_the_next_takes_it_over(
    archive: Archive, disk: Disk
) -> None:
    mark = await archive.identify(None, ())
    assert disk.files() == {MARK_FILE: mark_text(mark)}
    assert await archive.identify(None, ()) == mark
    assert await archive.identify(mark, ()) == mark
    assert await archive.mark() == mark
    await put(archive, "d/a.csv")
    assert disk.files() == {MARK_FILE: mark_text(mark), "d/a.csv": b"content"}


async def test_many_first_uses_at_once_agree_on_one_mark(archive: Archive, disk: Disk) -> None:
    found = await asyncio.gather(*(archive.identify(None, ()) for _ in range(5)))
    assert len(set(found)) == 1
    assert disk.files() == {MARK_FILE: mark_text(found[0])}


async def test_an_expected_mark_that_is_missing_is_another_place(
    archive: Archive, disk: Disk
) -> None:
    await another_place(archive.identify(new_mark(), ()), "missing")
    assert disk.files() == {}


async def test_another_mark_than_the_expected_is_another_place(
    archive: Archive, disk: Disk
) -> None:
    disk.write(MARK_FILE, mark_text(new_mark()))
    await another_place(archive.identify(new_mark(), ()), "another")


@pytest.mark.parametrize("text", [b"", b"no mark\n", b"0" * 500])
async def test_a_mark_that_is_none_is_neither_believed_nor_replaced(
    archive: Archive, disk: Disk, text: bytes
) -> None:
    disk.write(MARK_FILE, text)
    await another_place(archive.identify(new_mark(), ()), "another")
    for act in (archive.identify(None, ()), archive.mark()):
        with pytest.raises(DependencyDownError, match="not a valid mark"):
            await act
    assert disk.files() == {MARK_FILE: text}


@pytest.mark.parametrize("marked", [True, False])
async def test_with_witnesses_a_place_is_known_by_one_of_them(
    archive: Archive, disk: Disk, marked: bool
) -> None:
    if marked:
        disk.write(MARK_FILE, mark_text(new_mark()))
    disk.write("d/a.csv", b"content")
    wrong = [Witness("d/a.csv", 6), Witness("d/b.csv", 7), Witness("not/there.csv", 0)]
    before = disk.files()
    await another_place(archive.identify(None, wrong), "none of 3 files")
    assert disk.files() == before
    mark = await archive.identify(None, [*wrong, Witness("d/a.csv", 7)])
    assert disk.files()[MARK_FILE] == mark_text(mark)


async def test_a_new_mark_is_made_where_none_is(archive: Archive, disk: Disk) -> None:
    mark = await archive.mark()
    assert disk.files() == {MARK_FILE: mark_text(mark)}
    assert mark_in(mark_text(mark)) == mark
    assert await archive.mark() == mark


@pytest.mark.parametrize("instead", [None, mark_text(new_mark())], ids=["gone", "another"])
async def test_where_the_mark_is_gone_nothing_is_written_and_nothing_believed_missing(
    archive: Archive, disk: Disk, instead: bytes | None
) -> None:
    await archive.identify(None, ())
    await put(archive, "d/a.csv")
    disk.remove(MARK_FILE)
    disk.remove("d/a.csv")
    if instead:
        disk.write(MARK_FILE, instead)
    before = disk.files()
    for act in (
        put(archive, "d/b.csv"),
        put(archive, "new/b.csv"),
        archive.size("d/a.csv"),
        archive.checksum("d/a.csv"),
        anext(archive.contents("d/a.csv")),
        archive.flush("d/a.csv"),
    ):
        await another_place(act, "mark")
    assert disk.files() == before


async def test_a_mark_that_goes_during_an_upload_is_missed_before_the_receipt(
    archive: Archive, disk: Disk
) -> None:
    await archive.identify(None, ())
    async with archive.upload("d/a.csv", "id.1", 7) as upload:
        await upload.write(b"content")
        disk.remove(MARK_FILE)
        with suppress(DependencyDownError):
            await upload.publish()
    await another_place(archive.flush("d/a.csv"), "missing")


async def test_the_place_is_well_again_when_its_mark_is_back(archive: Archive, disk: Disk) -> None:
    mark = await archive.identify(None, ())
    disk.remove(MARK_FILE)
    await another_place(put(archive, "d/a.csv"), "missing")
    disk.write(MARK_FILE, mark_text(mark))
    await put(archive, "d/a.csv")
    assert await archive.size("d/b.csv") is None


async def place_line(archive: Archive, expected: str | None) -> tuple[bool, str]:
    lines = await archive.probe(["d"], expected)
    (line,) = [line for line in lines if line.subject == "archive place"]
    others = [each.subject for each in lines if each.subject.startswith("archive directory")]
    assert bool(others) == line.ok  # nothing is tried in another place
    return line.ok, line.detail


async def test_the_probe_tells_which_place_it_is(archive: Archive, disk: Disk) -> None:
    assert await place_line(archive, None) == (True, "no mark yet: it is written at the first use")
    assert disk.files() == {}
    ok, detail = await place_line(archive, new_mark())
    assert (ok, "missing" in detail) == (False, True)
    mark = await archive.mark()
    assert (await place_line(archive, mark))[0]
    assert (await place_line(archive, None))[0]
    ok, detail = await place_line(archive, new_mark())
    assert (ok, "another" in detail) == (False, True)
    assert disk.files() == {MARK_FILE: mark_text(mark)}


async def test_the_probe_tells_where_its_file_shows_up(archive: Archive, disk: Disk) -> None:
    asked: list[str] = []

    def shows_up(name: str) -> str | None:
        asked.append(name)
        return "/feeds/a"

    assert all(line.ok for line in await archive.probe(["d"], None, lambda _: None))
    lines = {line.subject: line for line in await archive.probe(["d"], None, shows_up)}
    assert not lines["archive directory d"].ok
    assert "/feeds/a" in lines["archive directory d"].detail
    assert asked[0].endswith(".part")
    assert disk.files() == {}


# -- links and other things --------------------------------------------------------------------


def make_link(path: Path) -> None:
    path.symlink_to(path.parent.parent.parent / "outside.csv")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


THINGS: dict[str, Callable[[Path], object]] = {
    "link": make_link,
    "dangling link": make_dangling_link,
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
}
WITHOUT_FAKE = pytest.mark.parametrize("archive", ARCHIVES_ON_DISKS, indirect=True)


@WITHOUT_FAKE
@pytest.mark.parametrize("thing", THINGS)
async def test_what_is_no_file_is_taken_for_something_else(
    archive: Archive, root: Path, thing: str
) -> None:
    outside = root.parent / "outside.csv"
    outside.write_bytes(b"outside")
    (root / "d").mkdir(parents=True)
    THINGS[thing](root / "d/a.csv")
    assert await archive.size("d/a.csv") == -1
    assert await archive.checksum("d/a.csv") == NOT_A_FILE
    with pytest.raises(PermanentError, match="not a regular file"):
        await anext(archive.contents("d/a.csv"))
    with pytest.raises(NameTakenError):
        await put(archive, "d/a.csv")
    assert outside.read_bytes() == b"outside"
    assert [path.name for path in (root / "d").iterdir()] == ["a.csv"]


@WITHOUT_FAKE
@pytest.mark.parametrize("name", ["linked/a.csv", "linked/deep/a.csv"])
async def test_a_link_on_the_way_is_not_followed(archive: Archive, root: Path, name: str) -> None:
    outside = root.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "a.csv").write_bytes(b"outside")
    (outside / "deep/a.csv").write_bytes(b"outside")
    root.mkdir()
    (root / "linked").symlink_to(outside)
    for act in (
        put(archive, name.replace("a.csv", "b.csv")),
        archive.size(name),
        archive.checksum(name),
        anext(archive.contents(name)),
    ):
        with pytest.raises(TransientError, match=f"{root}/linked is a symbolic link") as caught:
            await act
        assert "mount --bind" in caught.value.hint
    assert {path.name for path in outside.rglob("*")} == {"a.csv", "deep"}


@WITHOUT_FAKE
async def test_a_link_under_the_temporary_name_is_not_written_through(
    archive: Archive, root: Path
) -> None:
    outside = root.parent / "outside.csv"
    outside.write_bytes(b"outside")
    (root / "d").mkdir(parents=True)
    (root / "d/.a.csv.id.1.part").symlink_to(outside)
    await put(archive, "d/a.csv")
    assert outside.read_bytes() == b"outside"
    assert {path.name: path.read_bytes() for path in (root / "d").iterdir()} == {
        "a.csv": b"content"
    }


@WITHOUT_FAKE
async def test_the_root_itself_may_be_reached_by_a_link(archive: Archive, root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    root.symlink_to(root.parent / "elsewhere")
    await archive.identify(None, ())
    await put(archive, "d/a.csv")
    assert (root.parent / "elsewhere/d/a.csv").read_bytes() == b"content"


@pytest.mark.parametrize("archive", ["local"], indirect=True)
async def test_another_name_of_the_source_is_known(archive: Archive, root: Path) -> None:
    (root / "d").mkdir(parents=True)
    source = root.parent / "a.csv"
    source.write_bytes(b"content")
    (root / "d/a.csv").hardlink_to(source)
    (root / "d/b.csv").write_bytes(b"content")
    identity = Identity.of(source.stat())
    assert await archive.is_same_file("d/a.csv", identity)
    assert not await archive.is_same_file("d/b.csv", identity)
    assert not await archive.is_same_file("d/c.csv", identity)


# -- snapshots of the ledger -------------------------------------------------------------------

SNAPSHOT = ".backupd/edge1/ledger-20251201T120000Z.db.gz"


async def test_nothing_is_listed_or_removed_in_another_place(archive: Archive, disk: Disk) -> None:
    await archive.identify(None, ())
    await put(archive, SNAPSHOT)
    disk.remove(MARK_FILE)
    await another_place(archive.names(".backupd/edge9"), "missing")
    await another_place(archive.remove_snapshot(SNAPSHOT), "missing")
    assert SNAPSHOT in disk.files()
