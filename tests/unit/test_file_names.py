"""Which file names are taken, which are refused, and how they are shown."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.core.names import escaped, passed_over, refusal, unescaped

WILD_NAMES = st.binary(min_size=1, max_size=80).map(os.fsdecode)


@pytest.mark.parametrize(
    "name", [".a.csv", "a.csv.tmp", "a.part", "a.csv.partial", "a.filepart", ".a.csv.x.part"]
)
def test_hidden_and_unfinished_names_are_passed_over(name: str) -> None:
    assert passed_over(name)


@pytest.mark.parametrize("name", ["a.csv", "a.tmp.csv", "part", "-a.csv", "a.TMP"])
def test_other_names_are_not(name: str) -> None:
    assert not passed_over(name)


@pytest.mark.parametrize(
    "name",
    ["a b.csv", "'a'.csv", '"', ";", "$(rm)", "%s", "ünï©ode…\u2028", "-rf", "x" * 255, "a\\b"],
)
def test_odd_but_sound_names_are_accepted(name: str) -> None:
    assert refusal(name) is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"a\xff.csv", r"a\xff.csv"),
        (b"a\xed\xb2\x80.csv", r"a\xed\xb2\x80.csv"),
        (b"a\nb", r"a\nb"),
        (b"a\x1b[2J", r"a\x1b[2J"),
        (b"a\x7f", r"a\x7f"),
        (b"a\xc2\x85", r"a\u{85}"),
        (b"sub\x00", r"sub\x00"),
    ],
)
def test_what_cannot_be_registered_is_shown_escaped(name: bytes, shown: str) -> None:
    reason = refusal(os.fsdecode(name))
    assert reason is not None
    assert reason.endswith(f": {shown}")


@given(name=WILD_NAMES)
def test_what_is_shown_is_one_printable_line_of_sound_text(name: str) -> None:
    shown = escaped(name)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(one=WILD_NAMES, other=WILD_NAMES)
def test_two_names_never_look_alike(one: str, other: str) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)


@given(name=WILD_NAMES)
def test_what_is_shown_tells_the_name(name: str) -> None:
    assert unescaped(escaped(name)) == name


@given(name=WILD_NAMES)
def test_an_accepted_name_is_utf8_without_line_breaks(name: str) -> None:
    if refusal(name) is None:
        assert not set(name.encode("utf-8")) & {*range(32), 127}
