"""What every archive does alike: the fake, a local directory, SFTP servers of every kind."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupd.core.errors import NameTakenError, PermanentError, RefusedError
from backupd.core.ports import Published

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.core.ports import Archive

# They open no directory as if it were a file, which it takes to flush one.
UNFLUSHED = {"proftpd", "replacing"}
WILD_NAMES = [
    "plain.csv.gz",
    "with space.csv",
    "quote'and\"quote.csv",
    "semi;colon && echo $(touch pwned) `id`.csv",
    "100%s %n.csv",
    "ünïcödé-数据-😀.csv",
    "-leading-dash.csv",
    "back\\slash\\n.csv",
    "new\nline\rand\ttab.csv",
    "*?[glob].csv",
    "n" * 255,
    "ü" * 127,
]


async def put(archive: Archive, name: str, *blocks: bytes, part_id: str = "1") -> Published:
    async with archive.upload(name, part_id, sum(map(len, blocks))) as upload:
        for block in blocks:
            await upload.write(block)
        return await upload.publish()


async def get(archive: Archive, name: str) -> bytes:
    return b"".join([block async for block in archive.contents(name)])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_what_is_published_is_there_whole_and_flushed(
    archive: Archive, request: pytest.FixtureRequest
) -> None:
    confirmed = request.node.callspec.params["archive"] not in UNFLUSHED
    published = await put(archive, "eLUX/traffic/a.csv.gz", b"one;", b"two\n")
    assert published.flushed is True
    assert await archive.flush("eLUX/traffic/a.csv.gz") is confirmed
    assert await archive.size("eLUX/traffic/a.csv.gz") == 8
    assert await get(archive, "eLUX/traffic/a.csv.gz") == b"one;two\n"
    checksum = await archive.checksum("eLUX/traffic/a.csv.gz")
    assert checksum is not None
    assert checksum.sha256 == sha256(b"one;two\n")


async def test_nothing_there_is_none_even_without_its_directory(archive: Archive) -> None:
    await put(archive, "there/a.csv", b"x")
    for name in ("there/b.csv", "not/there/b.csv", "b.csv"):
        assert await archive.size(name) is None
        assert await archive.checksum(name) is None
        with pytest.raises(PermanentError):
            await get(archive, name)


async def test_an_empty_file_is_a_file(archive: Archive) -> None:
    await put(archive, "empty.csv")
    assert await archive.size("empty.csv") == 0
    assert await get(archive, "empty.csv") == b""
    checksum = await archive.checksum("empty.csv")
    assert checksum is not None
    assert checksum.sha256 == sha256(b"")


async def test_a_directory_is_there_and_is_no_file(archive: Archive) -> None:
    await put(archive, "d/below/a.csv", b"a")
    assert await archive.size("d") == await archive.size("d/below") == -1
    assert await archive.size("d/other") is None


async def test_many_blocks_of_any_size_keep_their_order(archive: Archive) -> None:
    blocks = [bytes([number]) * (number * 9_973) for number in range(60)]
    blocks.append(b"z" * 1_000_000)
    await put(archive, "deep/er/big.bin", *blocks)
    assert await get(archive, "deep/er/big.bin") == b"".join(blocks)


async def test_nothing_is_seen_before_it_is_published(archive: Archive) -> None:
    async with archive.upload("a.csv", "1", 3) as upload:
        await upload.write(b"abc")
        assert await archive.size("a.csv") is None
        await upload.publish()
        assert await archive.size("a.csv") == 3


async def test_a_taken_name_is_never_written_over(archive: Archive) -> None:
    await put(archive, "d/a.csv", b"first")
    with pytest.raises(NameTakenError):
        await put(archive, "d/a.csv", b"second", part_id="2")
    assert await get(archive, "d/a.csv") == b"first"


async def test_of_two_at_once_exactly_one_gets_the_name(archive: Archive) -> None:
    results = await asyncio.gather(
        *(put(archive, "race.csv", bytes([n]) * 100, part_id=f"{n}") for n in range(8)),
        return_exceptions=True,
    )
    assert [type(result) for result in results].count(Published) == 1
    assert [type(result) for result in results].count(NameTakenError) == 7
    assert len(set(await get(archive, "race.csv"))) == 1


async def test_an_upload_that_was_left_behind_is_begun_anew(archive: Archive) -> None:
    async with archive.upload("a.csv", "7", 5) as abandoned:
        await abandoned.write(b"late!")
        await put(archive, "a.csv", b"new", part_id="7")
    assert await get(archive, "a.csv") == b"new"


async def test_parts_of_earlier_tries_can_be_discarded_there_or_not(archive: Archive) -> None:
    async with archive.upload("d/a.csv", "1", 3) as upload:
        await upload.write(b"abc")
        await archive.discard_parts("d/a.csv", ["1", "2", "3"])
    await archive.discard_parts("not/there.csv", ["1"])
    assert await archive.size("d/a.csv") is None


async def test_no_room_is_found_out_before_anything_is_sent(archive: Archive) -> None:
    await put(archive, "a.csv", b"x")
    with pytest.raises(RefusedError, match="room") as caught:
        async with archive.upload("b.csv", "1", 1 << 60):
            pytest.fail("nothing may be sent")
    assert caught.value.room


@pytest.mark.parametrize("name", WILD_NAMES)
async def test_wild_names_are_only_names(archive: Archive, name: str, tmp_path: Path) -> None:
    await put(archive, f"wild dir;$x/{name}", name.encode())
    checksum = await archive.checksum(f"wild dir;$x/{name}")
    assert checksum is not None
    assert checksum.sha256 == sha256(name.encode())
    assert not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "name", ["n" * 256, "d/" + "ü" * 128, "../out", "a/../../b", "/abs", "", "a//b", "."]
)
async def test_a_name_that_cannot_be_is_refused(archive: Archive, name: str) -> None:
    with pytest.raises(PermanentError):
        await put(archive, name, b"x")


async def test_many_at_once(archive: Archive) -> None:
    contents = {f"d{n % 3}/f{n}.csv": f"{n}".encode() * n for n in range(100)}

    async def ship(name: str, content: bytes) -> str | None:
        await put(archive, name, content)
        checksum = await archive.checksum(name)
        return checksum.sha256 if checksum else None

    sums = await asyncio.gather(*(ship(*item) for item in contents.items()))
    assert sums == [sha256(content) for content in contents.values()]


async def test_a_probe_is_well_and_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    lines = await archive.probe(["eLUX/traffic", "SKYROAM/traffic"])
    assert [line for line in lines if not line.ok] == []
    assert {"archive directory eLUX/traffic", "archive directory SKYROAM/traffic"} <= {
        line.subject for line in lines
    }
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(blocks=st.lists(st.binary(max_size=2000), max_size=8))
async def test_any_content_comes_back_as_it_was(archive: Archive, blocks: list[bytes]) -> None:
    name = f"{sha256(b'|'.join(blocks))}-{len(blocks)}.bin"
    if await archive.size(name) is None:
        await put(archive, name, *blocks)
    assert await get(archive, name) == b"".join(blocks)


SNAPSHOT = ".backupd/edge1/ledger-20251201T120000Z.db.gz"


async def test_a_directorys_names_are_all_that_stands_in_it(archive: Archive) -> None:
    assert await archive.names(".backupd/edge1") == []
    await put(archive, SNAPSHOT, b"one")
    await put(archive, ".backupd/edge1/notes.txt", b"two")
    await put(archive, ".backupd/edge2/other.gz", b"three")
    async with archive.upload(SNAPSHOT, "id.1", 3) as upload:
        name = SNAPSHOT.rpartition("/")[2]
        there = await archive.names(".backupd/edge1")
        assert sorted(there) == [upload.part_name, name, "notes.txt"]
    assert sorted(await archive.names(".backupd")) == ["edge1", "edge2"]


async def test_a_snapshot_can_be_removed_there_or_not(archive: Archive) -> None:
    await archive.remove_snapshot(SNAPSHOT)
    await put(archive, SNAPSHOT, b"one")
    await archive.remove_snapshot(SNAPSHOT)
    assert await archive.size(SNAPSHOT) is None
    await archive.remove_snapshot(SNAPSHOT)


@pytest.mark.parametrize(
    "name",
    [
        "eLUX/traffic/a.csv.gz",
        "ledger-20251201T120000Z.db.gz",
        ".backupd/edge1/notes.txt",
        ".backupd/edge1/../ledger-20251201T120000Z.db.gz",
        ".backupd/edge1/x/ledger-20251201T120000Z.db.gz",
        ".backupd/../ledger-20251201T120000Z.db.gz",
    ],
)
async def test_no_other_file_is_ever_removed(archive: Archive, name: str) -> None:
    for there in ("eLUX/traffic/a.csv.gz", "ledger-20251201T120000Z.db.gz", SNAPSHOT):
        await put(archive, there, b"kept")
    with pytest.raises(PermanentError):
        await archive.remove_snapshot(name)
    for there in ("eLUX/traffic/a.csv.gz", "ledger-20251201T120000Z.db.gz", SNAPSHOT):
        assert await archive.size(there) == 4
