"""manifest and the companion beside its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.core import companions
from backupd.core.errors import (
    RewindError,
)
from backupd.core.stages import Stage
from support.intake import a_rule
from support.manifests import NAME, a_real_file, read, task_of

if TYPE_CHECKING:
    from backupd.core.records import CompanionRule, Task


def claim_for(content: bytes, algorithm: str) -> str:
    checker = companions.checker(algorithm)
    checker.update(content)
    claim = checker.claim()
    return f"{claim.digest} {claim.size} {NAME}\n" if algorithm == "cksum" else f"{claim.digest}\n"


def with_companion(directory: Path, text: str | None, rule: CompanionRule) -> Task:
    path = a_real_file(directory)
    if text is not None:
        path.with_suffix(".cksum").write_text(text)
    return task_of(path, companion=rule)


@pytest.mark.parametrize("algorithm", ["cksum", "md5", "sha256"])
def test_a_companion_that_agrees_is_kept_in_words(tmp_path: Path, algorithm: str) -> None:
    text = claim_for(b"id\n1\n2\n", algorithm)
    result = read(with_companion(tmp_path, text, a_rule(algorithm=algorithm)))
    assert result.changes["companion_text"] == text


@pytest.mark.parametrize("algorithm", ["cksum", "md5", "sha256"])
@pytest.mark.parametrize("required", [True, False])
def test_a_companion_that_disagrees_sends_both_back_to_be_looked_at(
    tmp_path: Path, algorithm: str, required: bool
) -> None:
    text = claim_for(b"id\n1\n3\n", algorithm)
    rule = a_rule(algorithm=algorithm, required=required)
    with pytest.raises(RewindError, match="its companion says") as caught:
        read(with_companion(tmp_path, text, rule))
    assert caught.value.stage is Stage.SETTLE
    assert len(str(caught.value.changes["disagreement"])) == 64


@pytest.mark.parametrize("text", ["", "garbage", "1 2 3 4\n5 6\n", "\0\0", "d41d8cd98f00b204\n"])
def test_a_companion_that_says_nothing_is_looked_at_again(tmp_path: Path, text: str) -> None:
    with pytest.raises(RewindError) as caught:
        read(with_companion(tmp_path, text, a_rule()))
    assert caught.value.stage is Stage.SETTLE


def test_a_companion_of_another_algorithm_is_looked_at_again(tmp_path: Path) -> None:
    with pytest.raises(RewindError):
        read(with_companion(tmp_path, claim_for(b"id\n1\n2\n", "sha256"), a_rule()))


def test_a_companion_that_went_away_is_waited_for_if_it_is_required(tmp_path: Path) -> None:
    with pytest.raises(RewindError, match="companion went away"):
        read(with_companion(tmp_path, None, a_rule()))
    result = read(with_companion(tmp_path, None, a_rule(required=False)))
    assert result.changes["companion_text"] is None


def test_a_companion_that_is_a_fifo_holds_up_nothing(tmp_path: Path) -> None:
    task = with_companion(tmp_path, None, a_rule())
    os.mkfifo(tmp_path / Path(NAME).with_suffix(".cksum"))
    with pytest.raises(RewindError):
        read(task)
