"""The status file for the old job's health checks."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

import pytest

from backupd.core.incidents import Standing
from backupd.core.stages import ORDER, Stage
from backupd.ops.status_file import StatusFile, lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUIET = Standing(due=frozenset(), incidents=False, ticketed=False)


def standing(*due: Stage, incidents: bool = False, ticketed: bool = False) -> Standing:
    return Standing(due=frozenset(due), incidents=incidents, ticketed=ticketed)


@pytest.mark.parametrize(
    ("found", "flag", "status", "ticket"),
    [
        (standing(), "0", "Success", "No"),
        (standing(Stage.SETTLE), "1", "Running", "No"),
        (standing(Stage.MANIFEST), "1", "Running", "No"),
        (standing(Stage.CLEANUP, Stage.LOAD), "2", "Running", "No"),
        (standing(Stage.MERGE, Stage.SHIP), "3", "Running", "No"),
        (standing(Stage.SHIP), "4", "Running", "No"),
        (standing(Stage.CLEANUP), "5", "Running", "No"),
        (standing(*ORDER, incidents=True), "1", "Failure", "No"),
        (standing(incidents=True, ticketed=True), "0", "Failure", "Yes"),
    ],
)
def test_it_tells_the_earliest_step_with_work_and_how_the_job_is(
    found: Standing, flag: str, status: str, ticket: str
) -> None:
    assert lines(found, 42) == {
        "MNAAS_CDR_Backup_ProcessStatusFlag": flag,
        "MNAAS_job_status": status,
        "MNAAS_email_sdp_created": ticket,
        "MNAAS_Script_Process_Id": "42",
    }


class Daemon:
    """What the file is about, as a test changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found = QUIET
        self.commits = 0
        self.file = StatusFile(path, self.look, lambda: self.commits)

    async def look(self) -> Standing:
        return self.found

    def values(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.path.read_text().splitlines())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 -- what is waited for is a file
            await asyncio.sleep(0.01)


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path / "process_status")


async def test_it_is_written_at_the_start_and_after_each_change(daemon: Daemon) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.file.run(stop))
    await until(daemon.path.exists)
    assert daemon.values()["MNAAS_job_status"] == "Success"
    daemon.found, daemon.commits = standing(Stage.SHIP), 1
    await until(lambda: daemon.values()["MNAAS_job_status"] == "Running")
    stop.set()
    await running


async def test_it_names_this_process_and_the_time_and_all_may_read_it(daemon: Daemon) -> None:
    await daemon.file.write()
    values = daemon.values()
    assert values["MNAAS_Script_Process_Id"] == str(os.getpid())
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", values["MNAAS_job_ran_time"])
    assert daemon.path.stat().st_mode & 0o777 == 0o644


async def test_nothing_is_written_while_nothing_changes(daemon: Daemon) -> None:
    await daemon.file.write()
    before = daemon.path.stat()
    await daemon.file.write()
    assert daemon.path.stat() == before


async def test_what_an_earlier_process_left_is_replaced(daemon: Daemon) -> None:
    daemon.path.write_text("MNAAS_job_status=Failure\nMNAAS_Script_Process_Id=1\n")
    await daemon.file.write()
    assert daemon.values()["MNAAS_job_status"] == "Success"
    assert [each.name for each in daemon.path.parent.iterdir()] == ["process_status"]


async def test_what_keeps_it_from_being_written_holds_nothing_up_and_it_is_tried_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "later").write_text("no directory")
    daemon = Daemon(tmp_path / "later" / "process_status")
    await daemon.file.write()
    (tmp_path / "later").unlink()
    await daemon.file.write()
    assert daemon.values()["MNAAS_job_status"] == "Success"


async def test_a_link_planted_under_any_of_its_names_is_not_followed(
    daemon: Daemon, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    private.write_text("secret")
    private.chmod(0o600)
    for name in (".process_status.tmp", ".process_status.01234567.tmp", "process_status"):
        (tmp_path / name).symlink_to(private)
    await daemon.file.write()
    assert private.read_text() == "secret"
    assert private.stat().st_mode & 0o777 == 0o600
    assert not daemon.path.is_symlink()
    assert daemon.values()["MNAAS_job_status"] == "Success"


async def test_a_directory_that_became_a_link_is_not_written_to(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "ours" / "process_status")
    await daemon.file.write()
    (tmp_path / "private").mkdir()
    (tmp_path / "ours").rename(tmp_path / "moved")
    (tmp_path / "ours").symlink_to(tmp_path / "private")
    daemon.found = standing(Stage.SHIP)
    await daemon.file.write()
    assert list((tmp_path / "private").iterdir()) == []
    (tmp_path / "ours").unlink()
    await daemon.file.write()
    assert daemon.values()["MNAAS_job_status"] == "Running"


async def test_a_link_in_the_path_that_the_config_names_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    await Daemon(tmp_path / "link" / "process_status").file.write()
    assert (tmp_path / "real" / "process_status").exists()


async def test_what_a_kill_left_is_removed_by_the_next_start(daemon: Daemon) -> None:
    (daemon.path.parent / ".process_status.0123abcd.tmp").touch()
    await daemon.file.write()
    assert [each.name for each in daemon.path.parent.iterdir()] == ["process_status"]
