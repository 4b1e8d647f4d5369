"""A server that a test starts, kills, freezes, and starts again on the data that it had."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_UP_WITHIN = 180.0  # seconds; Java takes its time where others compute
_DOWN_WITHIN = 60.0  # seconds


class ServerProcess:
    """One server: how it is started, and how one sees that it is up."""

    def __init__(
        self,
        log: Path,
        command: Sequence[str],
        environment: Mapping[str, str],
        is_up: Callable[[], bool],
    ) -> None:
        self.log = log
        self._command = command
        self._environment = environment
        self._is_up = is_up
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Whether it was started, and neither killed nor found dead."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it, and do not wait."""
        assert not self.runs, f"{self.log.stem} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Return once it is up; RuntimeError with its log where it does not come up."""
        deadline = time.monotonic() + _UP_WITHIN
        while not self._is_up():
            if not self.runs:
                raise RuntimeError(f"{self.log.stem} ended: see {self.log}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.log.stem} did not come up: see {self.log}")
            time.sleep(0.1)

    def start(self) -> None:
        """Start it, return once it is up."""
        self.launch()
        self.wait()

    def kill(self) -> None:
        """End it by SIGKILL, frozen or not; ended already is no error."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> None:
        """Have it end by SIGTERM, if it does so in a while."""
        assert self._process
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_DOWN_WITHIN)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes it, and that is waited for; SIGCONT lets it go on."""
        assert self._process
        self._process.send_signal(number)
        while number is signal.SIGSTOP and not self._is_frozen(self._process.pid):
            time.sleep(0.01)

    @staticmethod
    def _is_frozen(pid: int) -> bool:
        """Return whether all its threads stand: on a loaded machine one may work on for a bit."""
        tasks = Path(f"/proc/{pid}/task").iterdir()
        states = [(task / "stat").read_text().rpartition(") ")[2][0] for task in tasks]
        return set(states) == {"T"}
