"""Claims on directories, against the real kernel: between processes, kills and children."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backupd.localfs import claims
from backupd.localfs.claims import ClaimedError, Claims, claim

HOLDER = """
import os, signal, sys
from backupd.localfs.claims import claim

held = claim(int(sys.argv[1]), int(sys.argv[2]), "feed")
child = os.posix_spawn("/bin/sleep", ["sleep", "600"], {}) if sys.argv[3] == "child" else 0
print(child, flush=True)
signal.pause()
"""


@contextmanager
def another_process(path: Path, children: str = "none") -> Iterator[tuple[int, int]]:
    """Run a process that claims the directory; yield its pid and its child's (0: none)."""
    dev, ino = key(path)
    command = [sys.executable, "-c", HOLDER, str(dev), str(ino), children]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            yield process.pid, child
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


def key(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def claimed_within(path: Path, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            claim(*key(path), "feed").release()
        except ClaimedError:
            continue
        return True
    return False


def test_a_second_process_is_refused_and_told_which_one_was_first(tmp_path: Path) -> None:
    with (
        another_process(tmp_path) as (pid, _),
        pytest.raises(ClaimedError, match=f"this feed is in use by process {pid}") as caught,
    ):
        claim(*key(tmp_path), "feed")
    assert (caught.value.what, caught.value.pid) == ("feed", str(pid))


def test_a_claim_ends_with_a_killed_process_though_its_child_lives_on(tmp_path: Path) -> None:
    with another_process(tmp_path, "child") as (pid, child):
        os.kill(pid, signal.SIGKILL)
        assert claimed_within(tmp_path, 10)
        os.kill(child, 0)  # it is still there


def test_a_stopped_owner_is_named_without_waiting_for_it(tmp_path: Path) -> None:
    with another_process(tmp_path) as (pid, _):
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(ClaimedError, match=str(pid)):
            claim(*key(tmp_path), "feed")
        assert time.monotonic() - began < 5


def test_a_link_to_the_directory_is_the_same_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    held = claim(*key(tmp_path / "real"), "archive")
    with pytest.raises(ClaimedError):
        claim(*key(tmp_path / "link"), "archive")
    held.release()


def test_each_directory_and_each_use_of_it_has_a_claim_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with Claims() as held:
        held.add(*key(tmp_path), "feed")
        held.add(*key(tmp_path), "archive")
        held.add(*key(tmp_path / "other"), "feed")


def test_one_process_cannot_claim_twice_either(tmp_path: Path) -> None:
    held = claim(*key(tmp_path), "warehouse")
    with pytest.raises(ClaimedError, match=str(os.getpid())):
        claim(*key(tmp_path), "warehouse")
    held.release()
    claim(*key(tmp_path), "warehouse").release()


def test_an_owner_may_ask_for_its_own_claim_again(tmp_path: Path) -> None:
    with Claims() as ours, Claims() as theirs:
        ours.add(*key(tmp_path), "feed")
        ours.add(*key(tmp_path), "feed")
        with pytest.raises(ClaimedError):
            theirs.add(*key(tmp_path), "feed")
    claim(*key(tmp_path), "feed").release()


def test_the_claims_of_others_are_seen_until_they_end(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with Claims() as held:
        held.add(*key(tmp_path / "ours"), "feed")
        with another_process(tmp_path):
            assert key(tmp_path) in held.elsewhere("feed")
            assert key(tmp_path / "ours") not in held.elsewhere("feed")
            assert key(tmp_path) not in held.elsewhere("archive")
        until_gone(held, tmp_path)


def until_gone(held: Claims, path: Path) -> None:
    deadline = time.monotonic() + 10
    while key(path) in held.elsewhere("feed"):
        assert time.monotonic() < deadline


def test_nothing_is_written_or_held_open(tmp_path: Path) -> None:
    with Claims() as held:
        held.add(*key(tmp_path), "feed")
        assert list(tmp_path.iterdir()) == []
        assert str(tmp_path) not in _opened_by(os.getpid())


def test_very_many_askers_are_refused_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "_BACKLOG", 3)
    held = claim(*key(tmp_path), "feed")
    pids = set()
    for _ in range(20):
        with pytest.raises(ClaimedError) as caught:
            claim(*key(tmp_path), "feed")
        pids.add(caught.value.pid)
    assert pids == {str(os.getpid()), "unknown"}
    held.release()


def _opened_by(pid: int) -> set[str]:
    """What a process has open; the descriptor by which this is listed is gone by then."""
    descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    return {str(each.readlink()) for each in descriptors if each.is_symlink()}
