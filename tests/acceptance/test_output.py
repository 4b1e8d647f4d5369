"""What becomes of the output decides over nothing: not over a file, nor over the daemon's life."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from support.daemon import PATIENCE, PROGRAMS, Host, environment, log_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLOSED = ">&-"
FULL = ">/dev/full"


@contextlib.contextmanager
def nobody_reads() -> Iterator[int]:
    """A pipe whose reader is gone."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@contextlib.contextmanager
def a_full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that takes nothing more: its reader does not read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"\n" * 4096)
    os.set_blocking(write, True)
    yield read, write
    os.close(read)
    os.close(write)


def by_shell(redirected: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one of our programs with its streams redirected as a shell does it."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirected}', PROGRAMS / command[0], *command[1:]],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        env=environment({}),
    )


def started(command: list[str], stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [PROGRAMS / command[0], *command[1:]], stderr=stderr, env=environment({})
    )


def once(host: Host) -> list[str]:
    return ["backupd", "run", "--once", "--config", str(host.config)]


# -- run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("redirected", "name", "code"),
    [
        ("2>&-", "one.csv", 0),
        ("2>/dev/full", "one\n.csv", 1),
        ("<&- >&- 2>&-", "one.csv", 0),
    ],
)
def test_a_run_whose_output_is_nowhere_does_its_work(
    tmp_path: Path, redirected: str, name: str, code: int
) -> None:
    host = Host(tmp_path)
    host.deliver(name)
    host.deliver("other.csv")

    assert by_shell(redirected, once(host)).returncode == code

    assert host.standing()["other.csv"] == "cleanup done"
    assert len(host.archived()) == 2 - code


def test_a_run_whose_reader_is_gone_does_its_work(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    with nobody_reads() as stderr:
        assert started(once(host), stderr).wait(PATIENCE) == 0
    assert host.standing() == {"one.csv": "cleanup done"}


def test_a_run_whose_reader_reads_no_more_does_its_work(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    with a_full_pipe() as (_, stderr):
        assert started(once(host), stderr).wait(PATIENCE) == 0
    assert host.standing() == {"one.csv": "cleanup done"}


def test_a_daemon_goes_on_while_its_reader_sleeps_and_tells_all_when_it_wakes(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    command = ["backupd", "run", "--config", str(host.config)]
    with a_full_pipe() as (read, write):
        daemon = started(command, write)
        try:
            host.deliver("one.csv")
            until((tmp_path / "control.sock").exists, lambda: "does not answer")
            until(lambda: host.standing() == {"one.csv": "cleanup done"}, lambda: "not done")
            told = _told_until(read, "cleanup finished")
            assert told[0]["event"] == "started"
            daemon.send_signal(signal.SIGTERM)
            assert _told_until(read, "stopped")[-1]["event"] == "stopped"
            assert daemon.wait(PATIENCE) == 0
        finally:
            daemon.kill()
            daemon.wait()


def _told_until(read: int, event: str) -> list[dict[str, str]]:
    data = b""
    while f'"{event}"'.encode() not in data or not data.endswith(b"\n"):
        data += os.read(read, 65536)
    return log_of(data.decode().lstrip("\n"))


def test_a_daemon_whose_reader_sleeps_ends_when_it_is_told_to(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with a_full_pipe() as (_, stderr):
        daemon = started(["backupd", "run", "--config", str(host.config)], stderr)
        try:
            until((tmp_path / "control.sock").exists, lambda: "does not answer")
            daemon.send_signal(signal.SIGTERM)
            assert daemon.wait(PATIENCE) == 0
        finally:
            daemon.kill()
            daemon.wait()


def test_what_ends_a_run_is_told_at_the_very_end(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (tmp_path / "ledger.db").write_bytes(b"no ledger" * 1000)
    run = host.once()
    assert run.returncode == 1
    assert run.stderr.startswith("error: ")


def test_a_journal_that_is_not_there_ends_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.deliver("one.csv")
    with (tmp_path / "log").open("wb") as stderr:
        found = os.fstat(stderr.fileno())
        run = subprocess.run(
            [PROGRAMS / "backupd", *once(host)[1:]],
            stderr=stderr,
            check=False,
            timeout=PATIENCE,
            env=environment({"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}),
        )
    assert run.returncode == 0
    assert host.standing() == {"one.csv": "cleanup done"}


# -- answers -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = Host(tmp_path_factory.mktemp("ran"))
    for number in range(3):
        host.deliver(f"{number}.csv")
    assert host.once().returncode == 0
    return host


ASKING = [
    ["backupd-admin", "list", "--json"],
    ["backupd-admin", "show", "0.csv"],
    ["backupd", "check", "--ddl"],
    ["backupd", "--help"],
]


def asked(host: Host, command: list[str]) -> list[str]:
    program, *words = command
    if program == "backupd-admin":
        return [program, "--config", str(host.config), *words]
    return [*command, "--config", str(host.config)] if words[0] == "check" else command


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_an_answer_that_cannot_be_written_is_an_error_in_one_line(
    ran: Host, command: list[str]
) -> None:
    heard = by_shell(FULL, asked(ran, command))
    assert heard.returncode == 1
    assert heard.stderr == "error: the answer could not be written: No space left on device\n"


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_a_reader_that_goes_away_gets_no_traceback(ran: Host, command: list[str]) -> None:
    with nobody_reads() as stdout:
        heard = subprocess.run(
            [PROGRAMS / command[0], *asked(ran, command)[1:]],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
            env=environment({}),
        )
    assert heard.returncode in {0, 1}
    assert "Traceback" not in heard.stderr
    assert "Exception" not in heard.stderr


@pytest.mark.parametrize("command", ASKING, ids=" ".join)
def test_who_closes_all_streams_gets_the_exit_code(ran: Host, command: list[str]) -> None:
    assert by_shell("<&- >&- 2>&-", asked(ran, command)).returncode == 0


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["backupd-admin", "show", "none.csv"], 1),
        (["backupd-admin", "nonsense"], 2),
        (["backupd", "run", "--once", "--config", "/nowhere"], 2),
    ],
)
def test_what_went_wrong_is_in_the_exit_code_too(
    ran: Host, command: list[str], redirected: str, code: int
) -> None:
    assert by_shell(redirected, asked(ran, command)).returncode == code


# -- threads -----------------------------------------------------------------------------------

DYING = {
    "ledger-writer": "from backupd.ledger.writer import Writer as owner; name = '_gather'",
    "ledger-writer at its answers": "from backupd.ledger import writer as owner; name = '_reply'",
    "observer": "from watchdog.observers.inotify_c import InotifyFD as owner; name = 'read_events'",
    "output": "from backupd.ops.output import Output as owner; name = '_taken'",
}


@pytest.mark.parametrize(
    ("thread", "error"),
    list(zip(DYING, ["RuntimeError", "KeyError", "MemoryError", "OSError"], strict=True)),
)
def test_a_thread_that_dies_ends_the_daemon_loudly(tmp_path: Path, thread: str, error: str) -> None:
    host = Host(tmp_path)
    flag = tmp_path / "now"
    program = f"""if True:
        import os
        {DYING[thread]}
        real = getattr(owner, name)
        def dies(*arguments):
            try:
                os.unlink({str(flag)!r})
            except FileNotFoundError:
                return real(*arguments)
            raise {error}("unforeseen")
        setattr(owner, name, dies)
        from backupd.cli.daemon import main
        main()
    """
    log = tmp_path / "log"
    with log.open("wb") as stderr:
        daemon = subprocess.Popen(
            [sys.executable, "-c", program, "run", "--config", str(host.config)],
            stderr=stderr,
            env=environment({}),
        )
    try:
        until(lambda: b'"ready"' in log.read_bytes(), log.read_text)
        flag.touch()
        host.deliver("one.csv")
        assert daemon.wait(PATIENCE) == 1
    finally:
        daemon.kill()
        daemon.wait()
    (told,) = (line for line in log_of(log.read_text()) if line["level"] == "critical")
    assert told["event"] == "a thread died by an unforeseen error"
    assert f"{error}: " in told["exception"]
    assert json.dumps(told)
