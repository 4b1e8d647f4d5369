"""Hints: bounded, and never lost without a word."""

from __future__ import annotations

from backupd.intake import observer
from backupd.intake.observer import PendingHints


class Alarm:
    def __init__(self) -> None:
        self.rung = 0

    def __call__(self) -> None:
        self.rung += 1


def test_the_first_hint_wakes_and_later_ones_do_not() -> None:
    alarm = Alarm()
    pending = PendingHints(alarm)
    for number in range(3):
        pending.add("/d", f"{number}")
    pending.add_tree("/d/new")
    assert alarm.rung == 1
    taken = pending.take()
    assert taken.names == {"/d": {"0", "1", "2"}}
    assert taken.trees == {"/d/new"}
    pending.add("/d", "3")
    assert alarm.rung == 2


def test_beyond_the_bound_one_rescan_stands_for_all() -> None:
    pending = PendingHints(Alarm())
    for number in range(observer.MOST_PENDING + 10):
        pending.add("/d", f"{number}")
    pending.add_tree("/d/new")
    taken = pending.take()
    assert taken.rescan
    assert len(taken.names["/d"]) == observer.MOST_PENDING
    assert not taken.trees
    assert not pending.take().rescan


def test_a_name_told_twice_is_held_once() -> None:
    pending = PendingHints(Alarm())
    for _ in range(observer.MOST_PENDING + 10):
        pending.add("/d", "same")
    assert not pending.take().rescan
