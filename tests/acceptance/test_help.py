"""Every command's help: what it does, its exit codes, examples; laid out as it was written."""

from __future__ import annotations

import subprocess

import pytest

from support.daemon import PROGRAMS


@pytest.mark.parametrize("command", ["run", "check", "import-job", "demo"])
def test_tells_exit_codes_and_gives_examples(command: str) -> None:
    shown = subprocess.run(
        [PROGRAMS / "backupd", command, "--help"], capture_output=True, text=True, check=True
    ).stdout

    lines = [line.strip() for line in shown.splitlines()]
    assert [line for line in lines if line.startswith("Exit: 0 ")]
    assert lines[lines.index("Examples:") + 1].startswith(f"backupd {command}")
    assert "\\b" not in shown
