"""Other processes that hold a ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TESTS = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - handed to another interpreter
HOLD = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from backupd.ledger import Ledger
from support.files import a_sighting
async def main():
    ledger = Ledger(Path(sys.argv[1]))
    await ledger.see([a_sighting(f"/feed/{n}") for n in range(int(sys.argv[3]))])
    print(os.posix_spawn("/bin/sleep", ["sleep", "600"], {}) if sys.argv[4] else 0, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@contextmanager
def another_holder(
    path: Path, files: int = 3, *, child: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the ledger, has written so many files, and started a child."""
    command = [sys.executable, "-c", HOLD, str(path), TESTS, str(files), "child" if child else ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        its_child = int(process.stdout.readline())
        try:
            yield process
        finally:
            process.kill()
            if its_child:
                os.kill(its_child, signal.SIGKILL)
