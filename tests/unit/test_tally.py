"""How often each of many ids came."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from backupd.cli.comparing import Tally


@given(st.lists(st.lists(st.text(max_size=2))), st.text(max_size=2))
def test_it_counts_as_a_counter_does(parts: list[list[str]], other: str) -> None:
    tally, counter = Tally(), Counter[str]()
    for part in parts:
        tally.add(part)
        counter.update(part)
    tally.sort()
    for id_ in [*counter, other]:
        assert tally[id_] == counter[id_]
