"""Which statements of a batch stay written down, and which are asked for again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError, UnknownOutcomeError
from backupd.warehouse.hive.batch_statements import BatchStatements, StatementMemory
from backupd.warehouse.hive.errors import ServerLostError, StatementEndedError

if TYPE_CHECKING:
    from backupd.core.rows import Statement
    from backupd.warehouse.hive.connection import Identify

BATCH, OTHER = "batch", "other"
KNOWN = ("hs2:10000", "session", "operation")
UNKNOWN = [
    DependencyDownError(Dependency.WAREHOUSE, "Invalid OperationHandle", hint=""),
    ServerLostError("the connection broke", hint=""),
    UnknownOutcomeError("it did not end in time"),
]


class Server:
    """A connection whose statements fail as a test says, and who asks what became of earlier."""

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.closed = 0
        self.statements: list[str] = []
        self.asked_for: list[tuple[Statement, float]] = []

    def run(self, statement: str, identify: Identify | None = None) -> list[Any]:
        self.statements.append(statement)
        if identify:
            identify(*KNOWN)
        if self.fails:
            raise self.fails
        return []

    def close(self) -> None:
        self.closed += 1

    def end(self, statement: Statement, patience: float) -> None:
        self.asked_for.append((statement, patience))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def log() -> StatementMemory:
    return StatementMemory()


@pytest.fixture
def statements(server: Server, log: StatementMemory) -> BatchStatements:
    return BatchStatements(server, cast("Any", server), log, patience=60.0)


def possible(log: StatementMemory) -> list[tuple[str, str]]:
    return [(each.batch_id, each.text) for each in log.possibly_running()]


def insert_fails(statements: BatchStatements, server: Server, error: Exception) -> None:
    server.fails = error
    with pytest.raises(type(error)):
        statements.run_alone(BATCH, "INSERT")
    server.fails = None


def test_one_that_worked_is_not_asked_for(
    statements: BatchStatements, server: Server, log: StatementMemory
) -> None:
    statements.run_alone(BATCH, "INSERT")
    statements.settle()
    assert (log.possibly_running(), server.asked_for, server.closed) == ([], [], 0)


def test_one_that_ended_by_an_error_is_not_asked_for(
    statements: BatchStatements, server: Server, log: StatementMemory
) -> None:
    insert_fails(statements, server, StatementEndedError("disk on fire"))
    assert log.possibly_running() == []
    statements.settle()
    assert (server.asked_for, server.closed) == ([], 0)


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda each: type(each).__name__)
def test_one_whose_end_is_unknown_is_asked_for_once(
    statements: BatchStatements, server: Server, log: StatementMemory, error: Exception
) -> None:
    insert_fails(statements, server, error)
    (known,) = log.possibly_running()
    assert (known.server, known.session, known.operation) == KNOWN
    assert server.closed == 1
    statements.settle()
    ((asked, patience),) = server.asked_for
    assert asked == known
    assert 0 < patience <= 60.0
    assert log.possibly_running() == []


@pytest.mark.parametrize("fails", [None, StatementEndedError("no"), *UNKNOWN], ids=str)
def test_it_stays_known_while_another_of_its_batch_runs(
    statements: BatchStatements, server: Server, log: StatementMemory, fails: Exception | None
) -> None:
    insert_fails(statements, server, UNKNOWN[0])
    if fails:
        server.fails = fails
        with pytest.raises(type(fails)):
            statements.run(BATCH, "ALTER TABLE")
    else:
        statements.run(BATCH, "ALTER TABLE")
    statements.over(BATCH)
    assert server.statements == ["INSERT", "ALTER TABLE"]
    assert possible(log) == [(BATCH, "INSERT")]


def test_that_of_another_batch_does_not_keep_ours_from_the_log(
    statements: BatchStatements, server: Server, log: StatementMemory
) -> None:
    insert_fails(statements, server, UNKNOWN[0])
    statements.run(OTHER, "ALTER TABLE")
    assert log._last[OTHER].text == "ALTER TABLE"
    statements.over(OTHER)
    assert list(log._last) == [BATCH]


def test_one_batch_settles_its_own_alone(
    statements: BatchStatements, server: Server, log: StatementMemory
) -> None:
    insert_fails(statements, server, UNKNOWN[0])
    statements.settle(OTHER)
    assert possible(log) == [(BATCH, "INSERT")]
    statements.settle(BATCH)
    assert possible(log) == []


@pytest.mark.parametrize(("step", "expected"), [(3600.0, 0.0), (-3600.0, 60.0)])
def test_a_clock_that_was_set_makes_nobody_wait_longer(
    statements: BatchStatements,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    step: float,
    expected: float,
) -> None:
    insert_fails(statements, server, UNKNOWN[0])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + step)
    statements.settle()
    assert [patience for _, patience in server.asked_for] == [expected]
