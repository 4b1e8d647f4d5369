"""The end of a process in which a thread hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HANGS = """
import sys, threading
from backupd.cli.program import leave_within, leaving
from backupd.ops import logs
logs.set_up()
threading.Thread(target=threading.Event().wait, name="frozen").start()
"""


def ended(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HANGS + program]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_what_hangs_is_left_behind_and_named(code: int) -> None:
    done = ended(f"leave_within(60, 9); leave_within(0.1, {code}); threading.Event().wait()")
    assert done.returncode == code
    assert "ended without what hangs" in done.stderr
    assert "frozen" in done.stderr


@pytest.mark.parametrize(
    ("program", "code"),
    [("pass", 0), ("sys.exit(0)", 0), ("sys.exit()", 0), ("sys.exit(3)", 3), ("1 // 0", 1)],
)
def test_the_end_waits_for_no_thread(program: str, code: int) -> None:
    done = ended(f"with leaving():\n    print('said', end='')\n    {program}")
    assert done.returncode == code
    assert done.stdout == "said"
    assert ("ZeroDivisionError" in done.stderr) == (program == "1 // 0")


def test_a_reader_of_standard_error_that_reads_no_more_holds_up_no_end() -> None:
    program = "leave_within(0.1, 0); sys.stderr.write('x' * 1_000_000)"
    command = [sys.executable, "-c", HANGS + program]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 0
