"""Programs of these tests that are killed from outside at any moment."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_TESTS = Path(__file__).parents[1]


def killed_after(module: str, directory: Path, seconds: float) -> None:
    """Kill `python -m <module> <directory>` so long after it has said that it is ready."""
    with subprocess.Popen(
        _command(module, directory), cwd=_TESTS, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()


def run_to_its_end(module: str, directory: Path, last: str) -> None:
    """Run it undisturbed; `last` is its last argument."""
    command = [*_command(module, directory), last]
    subprocess.run(command, cwd=_TESTS, check=True, capture_output=True)


def _command(module: str, directory: Path) -> list[str]:
    return [sys.executable, "-m", module, str(directory)]
