"""The table of stages: every stage has every fact."""

from __future__ import annotations

import pytest

from backupd.core.stages import BATCHED, FACTS, ORDER, UNSHIPPED, Stage, following, stages_that_need


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_has_every_fact(stage: Stage) -> None:
    facts = FACTS[stage]
    assert facts.does
    assert facts.repeats
    assert facts.batched == (stage in BATCHED)


def test_the_flags_of_the_status_file_never_go_back() -> None:
    flags = [FACTS[stage].flag for stage in ORDER]
    assert flags == sorted(flags)
    assert min(flags) > 0, "0 is for nothing to be done"


def test_what_a_dependency_holds_up() -> None:
    assert stages_that_need("warehouse") == [Stage.LOAD, Stage.MERGE]
    assert stages_that_need("archive") == [Stage.SHIP]
    assert stages_that_need("impala") == []


def test_what_has_a_row_is_unshipped_until_cleanup() -> None:
    assert following(Stage.MERGE) == UNSHIPPED[0]
    assert Stage.SHIP in UNSHIPPED
    assert following(UNSHIPPED[-1]) == Stage.CLEANUP


def test_stages_follow_each_other_to_the_end() -> None:
    assert [following(stage) for stage in ORDER] == [*ORDER[1:], None]
