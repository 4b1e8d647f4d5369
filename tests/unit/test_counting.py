"""Records are counted alike however the data is cut into blocks."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.core.errors import PermanentError
from backupd.stages.counting import GzipLineCounter, LineCounter

if TYPE_CHECKING:
    from collections.abc import Iterable

CONTENTS = {
    "empty": b"",
    "one newline": b"\n",
    "no final newline": b"a\nb",
    "final newline": b"a\nb\n",
    "only a header": b"id;name\n",
    "CRLF": b"a\r\nb\r\n",
    "CR alone is no line": b"a\rb\rc",
    "blank lines count": b"\n\n\n",
    "binary": bytes(range(256)) * 3,
    "NUL": b"\0\0\n\0",
    "quoted newline is two lines": b'"a\nb";c\n',
    "a lone quote": b'a;"b\nc;d\n',
    "10 MiB line": b"x" * (10 << 20) + b"\ny",
}
EXPECTED = dict(zip(CONTENTS, [0, 1, 2, 2, 1, 2, 1, 3, 4, 2, 2, 2, 2], strict=True))


def naive(data: bytes) -> int:
    return len(data.split(b"\n")) - data.endswith(b"\n") - (not data)


def cut(data: bytes, seed: int) -> Iterable[bytes]:
    """Cut data into blocks of wild sizes, empty ones among them."""
    chance = random.Random(seed)
    start = 0
    while start < len(data):
        size = chance.choice([0, 1, 2, 3, 7, 64, 1000, 65536, 1 << 20])
        yield data[start : start + size]
        start += size


def count(blocks: Iterable[bytes]) -> int:
    counter = LineCounter()
    for block in blocks:
        counter.update(block)
    return counter.lines()


def count_gzip(blocks: Iterable[bytes]) -> int:
    counter = GzipLineCounter()
    for block in blocks:
        counter.update(block)
    return counter.lines()


@pytest.mark.parametrize("name", CONTENTS)
def test_lines_of(name: str) -> None:
    data = CONTENTS[name]
    assert naive(data) == EXPECTED[name]
    for seed in range(3):
        assert count(cut(data, seed)) == EXPECTED[name]
        assert count_gzip(cut(gzip.compress(data, 1), seed)) == EXPECTED[name]


lines = st.lists(st.sampled_from([b"a", b"\n", b"\r\n", b";", b"\0", b"longer text", b""]))


@given(lines, st.integers(0, 1000))
def test_any_text_however_it_is_cut(pieces: list[bytes], seed: int) -> None:
    data = b"".join(pieces)
    assert count(cut(data, seed)) == naive(data)


@given(st.lists(lines, min_size=1, max_size=5), st.integers(0, 1000), st.booleans())
def test_any_members_however_they_are_cut(
    members: list[list[bytes]], seed: int, padded: bool
) -> None:
    texts = [b"".join(pieces) for pieces in members]
    padding = b"\0" * 600 if padded else b""
    data = b"".join(gzip.compress(text, 1) + padding for text in texts)
    assert count_gzip(cut(data, seed)) == naive(b"".join(texts))


@given(st.binary(max_size=300), st.data())
def test_a_gzip_that_is_cut_anywhere_is_refused(content: bytes, data: st.DataObject) -> None:
    whole = gzip.compress(content)
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(PermanentError, match="does not decompress whole"):
        count_gzip([whole[:length]])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not gzip at all\n",
        b"\0" * 100,
        gzip.compress(b"a\n") + b"garbage",
        gzip.compress(b"a\n") + gzip.compress(b"b\n" * 500)[:-1],
        gzip.compress(b"a\n") + b"\0" * 10 + b"x",
        gzip.compress(b"a\n")[:-8] + b"\0" * 8,  # a wrong checksum
        zlib.compress(b"a\n"),
    ],
    ids=[
        "empty",
        "text",
        "zeros",
        "garbage after",
        "second member cut",
        "garbage after padding",
        "wrong checksum",
        "zlib",
    ],
)
def test_what_does_not_decompress_whole_is_refused(data: bytes, seed: int) -> None:
    with pytest.raises(PermanentError, match="does not decompress whole"):
        count_gzip(cut(data, seed))


def test_a_small_gzip_that_holds_very_much_takes_little_memory() -> None:
    zeros = gzip.compress(b"\n" * (64 << 20), 9)
    assert len(zeros) < 100_000
    largest = 0

    class Measured(LineCounter):
        def update(self, block: bytes) -> None:
            nonlocal largest
            largest = max(largest, len(block))
            super().update(block)

    counter = GzipLineCounter()
    counter._text = Measured()
    counter.update(zeros)
    assert counter.lines() == 64 << 20
    assert largest <= 1 << 20


def test_many_members_in_one_block() -> None:
    data = gzip.compress(b"a\n", mtime=0) * 5_000
    assert count_gzip([data]) == 5_000
