"""The single pass: what comes out, what is summed up, how it ends."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import os
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupd.archive import SendStream
from backupd.archive.stream import BLOCK, CHUNK, STEP
from backupd.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupd.archive import Totals

SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, STEP - 1, STEP, STEP + 1, 3 * STEP + 7]


@contextmanager
def in_memory(content: bytes) -> Iterator[int]:
    fd = os.memfd_create("content")
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)


async def send(
    content: bytes, *, compress: bool = True, level: int = 1
) -> tuple[list[bytes], Totals]:
    with in_memory(content) as fd:
        stream = SendStream(fd, asyncio.to_thread, compress=compress, level=level)
        async with aclosing(stream.blocks()) as blocks:
            return [block async for block in blocks], stream.totals


def text(size: int) -> bytes:
    return (b"eLUX;8931;20261123081500;%d;DATA\n" * (size // 30 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("compress", [True, False])
async def test_what_was_read_comes_out_and_is_summed_up(size: int, compress: bool) -> None:
    content = os.urandom(size // 2) + text(size - size // 2)
    blocks, totals = await send(content, compress=compress)
    sent = b"".join(blocks)
    assert (gzip.decompress(sent) if compress else sent) == content
    assert totals.sha256 == hashlib.sha256(content).hexdigest()
    assert totals.sent_bytes == len(sent)
    assert totals.sent_sha256 == hashlib.sha256(sent).hexdigest()
    assert all(0 < len(block) <= BLOCK for block in blocks)


@settings(max_examples=50)
@given(content=st.binary(max_size=4096), level=st.integers(1, 9))
async def test_any_content_at_any_level_comes_back(content: bytes, level: int) -> None:
    blocks, _ = await send(content, level=level)
    assert gzip.decompress(b"".join(blocks)) == content


@pytest.mark.parametrize("level", range(1, 10))
async def test_the_same_content_gives_the_same_bytes_without_time_or_name(level: int) -> None:
    first, _ = await send(text(STEP + 5), level=level)
    again, _ = await send(text(STEP + 5), level=level)
    assert first == again
    flags_and_time = first[0][3:8]
    assert flags_and_time == bytes(5)


async def test_an_empty_file_sent_as_it_is_has_no_blocks() -> None:
    blocks, totals = await send(b"", compress=False)
    assert blocks == []
    assert totals.sent_bytes == 0


async def test_the_descriptors_position_is_neither_used_nor_moved() -> None:
    with in_memory(b"abc") as fd:
        assert os.lseek(fd, 0, os.SEEK_CUR) == 3
        stream = SendStream(fd, asyncio.to_thread, compress=False, level=1)
        assert [block async for block in stream.blocks()] == [b"abc"]
        assert os.lseek(fd, 0, os.SEEK_CUR) == 3


async def test_totals_are_not_told_before_the_end() -> None:
    with in_memory(text(4 * STEP)) as fd:
        stream = SendStream(fd, asyncio.to_thread, compress=False, level=1)
        async with aclosing(stream.blocks()) as blocks:
            await anext(blocks)
            with pytest.raises(ValueError, match="end"):
                _ = stream.totals


async def test_a_read_error_says_so(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)  # a directory: reading it fails
    try:
        with pytest.raises(TransientError, match="cannot be read"):
            [
                block
                async for block in SendStream(
                    fd, asyncio.to_thread, compress=True, level=1
                ).blocks()
            ]
    finally:
        os.close(fd)


async def test_after_a_break_no_thread_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = 0
    real_pread = os.pread

    def counting_pread(fd: int, length: int, offset: int) -> bytes:
        nonlocal reading
        reading += 1
        try:
            return real_pread(fd, length, offset)
        finally:
            reading -= 1

    monkeypatch.setattr(os, "pread", counting_pread)
    with in_memory(text(8 * STEP)) as fd:
        async with aclosing(
            SendStream(fd, asyncio.to_thread, compress=True, level=1).blocks()
        ) as blocks:
            await anext(blocks)
        assert reading == 0


async def test_many_streams_at_once() -> None:
    contents = [text(size * 1000) for size in range(40)]
    results = await asyncio.gather(*(send(content) for content in contents))
    assert [gzip.decompress(b"".join(blocks)) for blocks, _ in results] == contents
