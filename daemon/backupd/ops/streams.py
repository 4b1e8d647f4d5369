"""The standard streams of a program: there, in UTF-8, and never what it fails by.

Started without them (`2>&-`), with a full disk behind them, or with a reader that went away, a
program does its work all the same.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from backupd.core.errors import PermanentError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDOUT, STDERR = 1, 2


def speak_utf8() -> None:
    """Have all names in UTF-8, whatever the locale: start the program anew where they are not."""
    if sys.getfilesystemencoding() != "utf-8":
        again = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, again)  # noqa: S606 - this very program


def make_sound() -> None:
    """Have all three there, and writing to them raise nothing that its caller does not expect."""
    for descriptor in (0, STDOUT, STDERR):
        if not _is_open(descriptor):
            # It gets the lowest free number, which is this one: else a file of ours would.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = text_over(io.BufferedWriter(_Stdout(STDOUT, "w", closefd=False)))
    sys.stderr = text_over(_Stderr(STDERR, "w", closefd=False))


def text_over(raw: io.IOBase) -> TextIO:
    """Return a stream of text that is handed on line by line, in UTF-8."""
    return io.TextIOWrapper(
        cast("BinaryIO", raw),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
        write_through=True,
    )


class _Stdout(io.FileIO):
    """Answers: one that cannot be given is an error of its own. What follows it goes nowhere."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            _lead_nowhere(self.fileno())
            raise
        except OSError as error:
            _lead_nowhere(self.fileno())
            raise PermanentError(f"the answer could not be written: {error.strerror}") from error


class _Stderr(io.FileIO):
    """Errors: where one cannot be printed, the exit code still shows it."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError:
            _lead_nowhere(self.fileno())
            return memoryview(data).nbytes


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _lead_nowhere(descriptor: int) -> None:
    """Have what is still buffered find a place where writing works."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
