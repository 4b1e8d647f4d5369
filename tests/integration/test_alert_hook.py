"""The hook program: what it gets, and that it can do no harm."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from backupd.alerts import hook
from backupd.alerts.messages import hook_json
from backupd.alerts.schedule import Due
from backupd.core.errors import TransientError
from backupd.core.incidents import Case, Held, Incident, Kind, Occasion, Way

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_795_435_200.0


def program(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "on-incident"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    return path


def told() -> dict[str, object]:
    incident = Incident(
        id="1a2b",
        kind=Kind.PARKED,
        cause="parked:traffic/a:odd",
        feed="traffic/a",
        trouble="odd",
        reason="odd",
        opened_at=NOW,
    )
    held = Held(files=2, oldest_at=NOW, oldest_name="$(touch pwned)\n;\udcff.csv")
    case = Case(incident=incident, notices=[], held=held)
    return hook_json(Due(case=case, way=Way.HOOK, occasion=Occasion.OPENED), "edge1")


async def test_it_gets_json_on_standard_input_and_no_argument(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await hook.run_hook(program(tmp_path, f'echo "$#" > {out}; cat >> {out}'), told())
    count, line = out.read_text().splitlines()
    assert count == "0"
    given = json.loads(line)
    assert (given["occasion"], given["files"], given["host"]) == ("opened", 2, "edge1")
    assert given["oldest"] == "$(touch pwned)\\n;\\xff.csv"
    assert not (tmp_path / "pwned").exists()


async def test_no_secret_is_in_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/backupd")
    out = tmp_path / "out"
    await hook.run_hook(program(tmp_path, f"env > {out}"), told())
    assert "CREDENTIALS" not in out.read_text()


async def test_what_it_says_when_it_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="ended with 3: no such queue"):
        await hook.run_hook(program(tmp_path, "echo no such queue >&2; exit 3"), told())


async def test_one_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TransientError, match="cannot run"):
        await hook.run_hook(tmp_path / "none", told())


async def test_one_that_reads_nothing_is_no_failure(tmp_path: Path) -> None:
    await hook.run_hook(program(tmp_path, "exit 0"), told() | {"long": "x" * 1_000_000})


async def test_one_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook, "TIME_LIMIT", 0.3)
    pid = tmp_path / "pid"
    with pytest.raises(TransientError, match="did not end within"):
        await hook.run_hook(program(tmp_path, f"sleep 1000 & echo $! > {pid}; wait"), told())
    child = int(pid.read_text())
    assert _is_gone(child)


def _is_gone(pid: int) -> bool:
    """A killed orphan may stay a zombie until whoever adopted it looks."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 -- it may go away meanwhile
        return stat.read().rpartition(")")[2].split()[0] in {"Z", "X"}
