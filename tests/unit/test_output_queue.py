"""Lines on their way out: none holds anybody up, and what is lost is told."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from backupd.ops import output as outputs
from backupd.ops.output import Output, Stderr
from support.daemon import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE = 30.0  # seconds


class Reader:
    """A way that takes its time."""

    def __init__(self) -> None:
        self.reads = threading.Event()
        self.got: list[bytes] = []
        self.error: Exception | None = None

    def __call__(self, lines: Sequence[bytes]) -> int:
        assert self.reads.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        self.got += lines
        return 0


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.reads.set()


def test_lines_come_in_order_when_they_are_read(reader: Reader) -> None:
    output = Output(reader)
    lines = [b"%d\n" % number for number in range(1_000)]
    for line in lines:
        output.put(line)
    assert reader.got == []
    reader.reads.set()
    output.end(PATIENCE)
    assert reader.got == lines


def test_what_does_not_fit_is_lost_counted_and_told_once(reader: Reader) -> None:
    output = Output(reader)
    with capture_logs() as logs:
        for _ in range(1_000):
            output.put(b"x" * 100_000)
        lost = output.lost
        reader.reads.set()
        until(lambda: len(reader.got) == 1_000 - lost, lambda: str(len(reader.got)))
        output.put(b"one more")
        output.end(PATIENCE)
    assert reader.got[-1] == b"one more"
    assert sum(map(len, reader.got)) < 9 * 2**20
    assert [(each["event"], each["lines_so_far"]) for each in logs] == [
        ("log lines were lost", lost)
    ]


@pytest.mark.parametrize("error", [OSError(28, "full"), RuntimeError("unforeseen"), MemoryError()])
def test_whatever_goes_wrong_with_a_line_the_next_ones_arrive(
    reader: Reader, error: Exception
) -> None:
    output = Output(reader)
    reader.error = error
    reader.reads.set()
    with capture_logs() as logs:
        output.put(b"lost")
        until(lambda: output.lost == 1, lambda: str(output.lost))
        reader.error = None
        output.put(b"arrives")
        output.end(PATIENCE)
    assert reader.got == [b"arrives"]
    assert logs[0]["lines_so_far"] == 1


def test_the_end_waits_for_no_reader_for_ever(reader: Reader) -> None:
    output = Output(reader)
    output.put(b"never read")
    output.end(0.01)
    assert reader.got == []


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    monkeypatch.setattr(outputs, "STDERR", write)
    yield read, write
    os.close(read)
    os.close(write)


def test_a_pipe_that_somebody_made_non_blocking_gets_all(pipe: tuple[int, int]) -> None:
    read, write = pipe
    os.set_blocking(write, False)
    output = Output(Stderr())
    lines = [b"%06d" % number * 1_000 + b"\n" for number in range(100)]  # far more than it holds
    for line in lines:
        output.put(line)
    whole, got = b"".join(lines), b""
    while len(got) < len(whole):
        got += os.read(read, 65536)
    assert got == whole
    output.end(PATIENCE)


def test_a_line_after_one_that_was_cut_begins_a_line(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, _ = pipe
    really, room = os.write, [3]

    def full_after_a_while(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = really(descriptor, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", full_after_a_while)
    way = Stderr()
    assert way([b"first\n", b"second\n"]) == 2
    room[0] = 100
    assert way([b"third\n"]) == 0
    assert os.read(read, 100) == b"fir\nthird\n"
