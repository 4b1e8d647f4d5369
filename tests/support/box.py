"""A box: a real systemd as PID 1, in namespaces of its own, over a throw-away overlay of `/`.

Needs root, util-linux and systemd; no image, and no network but loopback. Everything in it is gone
with the test run, also when that is killed: the box's processes get SIGKILL then, and its file
systems live in a mount namespace that ends with them.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_INIT = Path(__file__).with_name("box_init.sh")
_ENTER = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--root", "--wd")
_ENVIRON = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "container": "box",
    "PAGER": "",
    "SYSTEMD_PAGER": "",
}
_SIZE = "2g"  # of what may be written in a box: memory, as far as it is used
_PATIENCE = 60.0  # seconds until a condition that does not come true fails its test
_POWEROFF = signal.SIGRTMIN + 4  # systemd(1): starts poweroff.target
_UP = ("running", "degraded")
_numbers = itertools.count()


class Box:
    """One box. Use as a context manager: it is booted while entered."""

    def __init__(self, place: Path, mounts: Mapping[str, Path]) -> None:
        """`place` is an empty directory; `mounts` shows directories of the host in the box.

        They are read-only there, and its keys are absolute paths in the box.
        """
        self._place = place
        self._mounts = [f"{source.resolve()}:{target}" for target, source in mounts.items()]
        self._cgroup = _cgroups() / f"box-{os.getpid()}-{next(_numbers)}"

    def __enter__(self) -> Self:
        """Boot it."""
        for left in self._cgroup.parent.glob("box-*"):  # by a test run that was killed
            if not Path("/proc", left.name.split("-")[1]).exists():
                _remove_cgroups(left)
        self._cgroup.mkdir()
        # Holds the file systems, so that they outlive a boot.
        self._holder = _start(["unshare", "--mount", "--propagation=private", "sleep", "infinity"])
        _until(lambda: _runs(self._holder, "sleep"), lambda: "unshare did not start")
        self._in_holder("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "box", str(self._place))
        self._in_holder("mkdir", *(f"{self._place}/{name}" for name in ("upper", "work", "root")))
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and all that runs in it."""
        self.halt()
        self._holder.kill()
        self._holder.wait()
        _remove_cgroups(self._cgroup)

    # -- power -----------------------------------------------------------------------------------

    def boot(self) -> None:
        """Boot; return once all that is to be started has been."""
        script = 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
        enter = ["nsenter", f"--target={self._holder.pid}", "--mount"]
        kinds = ("--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup")
        unshare = ["unshare", *kinds, "--fork", "--kill-child=KILL", "--propagation=private"]
        command = [*enter, *unshare, str(_INIT), str(self._place), *self._mounts]
        # The cgroup file system of the host is looked for before the mounts are changed.
        self._outer = _start(["bash", "-c", script, "-", str(self._cgroup), *command])
        _until(self._is_up, lambda: f"the box did not boot: {self._state()}")

    def halt(self) -> None:
        """Shut down in good order, as `poweroff` does."""
        for leader in self._children():
            os.kill(leader, _POWEROFF)
        try:
            self._outer.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.cut_power()

    def cut_power(self) -> None:
        """End everything in the middle of whatever it does."""
        self._outer.kill()
        self._outer.wait()

    def _is_up(self) -> bool:
        if self._outer.poll() is not None:
            pytest.fail(f"the box ended while it booted: {self._outer.returncode}")
        return self._state() in _UP

    def _state(self) -> str:
        if not self._children():
            return "not there yet"
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def _children(self) -> list[int]:
        pid = self._outer.pid
        try:
            return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            return []

    def _leader(self) -> int:
        """Return the host's number of the box's PID 1."""
        (leader,) = self._children()
        return leader

    def _in_holder(self, *command: str) -> None:
        enter = ["nsenter", f"--target={self._holder.pid}", "--mount"]
        subprocess.run([*enter, *command], check=True)

    # -- commands and files ----------------------------------------------------------------------

    def run(
        self, *command: str, check: bool = True, given: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the box as root; `given` is its standard input."""
        try:
            return subprocess.run(
                ["nsenter", f"--target={self._leader()}", *_ENTER, "--", *command],
                check=check,
                input=given,
                stdin=None if given is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=_ENVIRON,
                timeout=_PATIENCE,
            )
        except subprocess.CalledProcessError as error:
            shown = f"{' '.join(command)}: {error.returncode}\n{error.stdout}{error.stderr}"
            pytest.fail(shown)

    def shell(self, script: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a line of shell in the box as root."""
        return self.run("bash", "-euo", "pipefail", "-c", script, check=check)

    def path(self, inside: str) -> Path:
        """Return the host's way to a path in the box, good until it is halted."""
        return Path(f"/proc/{self._leader()}/root{inside}")

    def write(self, inside: str, text: str) -> None:
        """Write a file of the box's root at once, and the directories above it."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}.new")
        hidden.write_text(text)
        hidden.rename(path)

    # -- units -----------------------------------------------------------------------------------

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the journal's entries, oldest first; `matches` are journalctl's arguments."""
        self.run("journalctl", "--sync")
        shown = self.run("journalctl", "--output=json", "--all", "--no-pager", "--quiet", *matches)
        return [json.loads(line) for line in shown.stdout.splitlines()]

    def until(self, true: Callable[[], object], unit: str) -> None:
        """Wait until a condition is true; where it never is, show how the unit is."""

        def told() -> str:
            return self.run("systemctl", "status", "--full", "-n", "50", unit, check=False).stdout

        _until(true, told)


def _cgroups() -> Path:
    """Return where the host has its cgroups (version 2), also beside those of version 1."""
    found = subprocess.run(
        ["findmnt", "--noheadings", "--types=cgroup2", "--output=TARGET"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Path(found.stdout.split()[-1])


def _remove_cgroups(top: Path) -> None:
    """Remove a cgroup and those below it, in which nothing runs any more."""
    for path in (*sorted(top.rglob("*"), reverse=True), top):
        if path.is_dir():
            path.rmdir()


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that is killed with this one."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", *command], stdin=subprocess.DEVNULL, start_new_session=True
    )


def _runs(process: subprocess.Popen[bytes], name: str) -> bool:
    return Path(f"/proc/{process.pid}/comm").read_text().strip() == name


def _until(true: Callable[[], object], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"never came true: {told()}")
        time.sleep(0.05)
