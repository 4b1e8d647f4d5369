"""How far each stage is, worked out from where the files stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backupd.cli.progress import Lines, StageProgress, by_stage
from backupd.core.stages import ORDER, Stage, Status
from backupd.ledger.reports import Share

if TYPE_CHECKING:
    import pytest


def share(stage: Stage, status: Status, files: int, size_bytes: int = 0) -> Share:
    return Share(stage=stage, status=status, files=files, size_bytes=size_bytes)


def stage_of(stages: list[StageProgress], wanted: Stage) -> StageProgress:
    return next(item for item in stages if item.stage is wanted)


def test_a_file_has_passed_all_stages_before_its_own() -> None:
    stages = by_stage([share(Stage.SHIP, Status.RUNNING, 3, 30)])

    passed = {item.stage: (item.passed, item.size_bytes) for item in stages}
    place = ORDER.index(Stage.SHIP)
    assert passed[Stage.SETTLE] == (3, 0)
    assert {passed[stage] for stage in ORDER[1:place]} == {(3, 30)}
    assert {passed[stage] for stage in ORDER[place:]} == {(0, 0)}


def test_a_done_file_has_passed_every_stage() -> None:
    stages = by_stage(
        [share(Stage.CLEANUP, Status.DONE, 2), share(Stage.CLEANUP, Status.RUNNING, 1)]
    )

    assert stage_of(stages, Stage.CLEANUP).passed == 2
    assert stage_of(stages, Stage.SHIP).passed == 3


def test_a_parked_file_counts_where_it_is_parked_and_never_later() -> None:
    stages = by_stage(
        [share(Stage.MANIFEST, Status.PARKED, 1), share(Stage.CLEANUP, Status.DONE, 4)]
    )

    settle, manifest, load = stages[:3]
    assert (settle.total, settle.passed, settle.parked) == (5, 5, 0)
    assert (manifest.total, manifest.passed, manifest.parked) == (5, 4, 1)
    assert (load.total, load.passed, load.parked) == (4, 4, 0)


def test_nothing_known_yet_is_nothing_to_do() -> None:
    assert {(item.total, item.passed) for item in by_stage([])} == {(0, 0)}


def test_plain_lines_come_now_and_then_and_once_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = Lines()
    for tenths in range(50):
        lines.show(by_stage([share(Stage.SHIP, Status.RUNNING, tenths)]), tenths / 10)
    lines.end()

    told = capsys.readouterr().err.splitlines()
    assert [line.split(" s ")[0].strip() for line in told] == ["2.0", "4.0", "4.9"]
    assert "settle 49/49  manifest 49/49  load 49/49  merge 49/49" in told[-1]
    assert "ship 0/49  cleanup 0/49" in told[-1]
