"""Our own limits are told from all else, wherever they stand in an error's chain."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from backupd.core.dependencies import Dependency
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LedgerError,
    LocalGoneError,
    PermanentError,
    RewindError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.core.host import cannot_start, host_fault
from backupd.core.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

SHORTAGES: list[tuple[BaseException, str]] = [
    (OSError(errno.EMFILE, "Too many open files"), "LimitNOFILE="),
    (OSError(errno.ENFILE, "Too many open files in system"), "fs.file-max"),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), "MemoryMax"),
    (MemoryError(), "MemoryMax"),
    (RuntimeError("can't start new thread"), "TasksMax="),
    (DependencyDownError(Dependency.HOST, "no thread", hint="raise TasksMax="), "TasksMax="),
]
TOLD_AS: list[Callable[[], BackupdError]] = [
    lambda: TransientError("x"),
    lambda: UnknownOutcomeError("x"),
    lambda: PermanentError("x"),
    lambda: LocalGoneError("x"),
    lambda: DependencyDownError("archive", "x"),
    lambda: DependencyDownError("feed:traffic/a", "x"),
    lambda: RewindError(Stage.SETTLE, "x"),
]
OTHERS = [
    errno.EACCES,
    errno.EAGAIN,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.ENOENT,
    errno.EROFS,
]


def raised(*errors: BaseException, by_cause: bool) -> BaseException:
    """Return the last error as it comes of those before it."""
    came: BaseException | None = None
    for error in errors:
        if by_cause:
            error.__cause__ = came
        else:
            error.__context__ = came
        came = error
    assert came is not None
    return came


@pytest.mark.parametrize("by_cause", [True, False], ids=["cause", "context"])
@pytest.mark.parametrize("told_as", TOLD_AS)
@pytest.mark.parametrize(("shortage", "hint"), SHORTAGES, ids=repr)
def test_a_shortage_is_the_hosts_whatever_it_was_told_as(
    shortage: BaseException, hint: str, told_as: Callable[[], BackupdError], by_cause: bool
) -> None:
    found = host_fault(raised(shortage, ValueError("between"), told_as(), by_cause=by_cause))
    assert found is not None
    assert found.dependency == Dependency.HOST
    assert hint in found.hint


@pytest.mark.parametrize("number", OTHERS, ids=errno.errorcode.get)
@pytest.mark.parametrize("told_as", TOLD_AS)
def test_all_else_stays_what_it_is(number: int, told_as: Callable[[], BackupdError]) -> None:
    error = OSError(number, os.strerror(number))
    assert host_fault(error) is None
    assert host_fault(raised(error, told_as(), by_cause=True)) is None
    assert host_fault(RuntimeError("of another kind")) is None


def test_what_was_left_out_on_purpose_does_not_count() -> None:
    error = TransientError("x")
    error.__context__, error.__suppress_context__ = OSError(errno.EMFILE, "x"), True
    assert host_fault(error) is None


def test_the_ledger_is_in_error_for_whatever_reason() -> None:
    assert host_fault(raised(MemoryError(), LedgerError("x"), by_cause=True)) is None


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert host_fault(one) is None


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EAGAIN, "TasksMax="),
        (errno.EMFILE, "LimitNOFILE="),
        (errno.EACCES, "install backupd anew"),
        (errno.ENOENT, "install backupd anew"),
    ],
)
def test_a_process_that_cannot_be_started_is_the_hosts(number: int, hint: str) -> None:
    down = cannot_start(OSError(number, os.strerror(number)))
    assert down.dependency == Dependency.HOST
    assert hint in down.hint


@pytest.mark.parametrize(("shortage", "_"), SHORTAGES, ids=repr)
def test_a_group_is_the_hosts_when_all_in_it_are(shortage: BaseException, _: str) -> None:
    inner = BaseExceptionGroup("inner", [shortage])
    assert host_fault(BaseExceptionGroup("outer", [shortage, inner])) is not None
    for other in (ValueError("a bug"), LedgerError("x"), OSError(errno.EIO, "x")):
        mixed = BaseExceptionGroup("mixed", [shortage, other])
        assert host_fault(BaseExceptionGroup("outer", [inner, mixed])) is None
