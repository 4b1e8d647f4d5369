"""Every command's help: what it does, its exit codes, examples; laid out as it was written."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backupd.cli.daemon import COMMANDS
from support.daemon import PROGRAMS

SLOW = ("asyncssh", "pyarrow", "rich", "sqlalchemy", "structlog")


def test_the_list_of_commands_imports_nothing_that_is_slow() -> None:
    code = "import sys, backupd.cli.daemon as d; d.main(['--help'], standalone_mode=False)"
    loaded = f"{code}; print('loaded:', [m for m in {SLOW!r} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    ).stdout

    assert "loaded: []" in shown
    for name, (_, line) in COMMANDS.items():
        assert f"\n  {name} ".ljust(15) + f"{line}\n" in shown


@pytest.mark.parametrize("command", ["run", "check", "import-job", "demo"])
def test_tells_exit_codes_and_gives_examples(command: str) -> None:
    shown = subprocess.run(
        [PROGRAMS / "backupd", command, "--help"], capture_output=True, text=True, check=True
    ).stdout

    lines = [line.strip() for line in shown.splitlines()]
    assert [line for line in lines if line.startswith("Exit: 0 ")]
    assert lines[lines.index("Examples:") + 1].startswith(f"backupd {command}")
    assert "\\b" not in shown
