from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import product

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backupd.config.globs import common_name, companion_pattern, without_ending

LETTERS = "ab.-"
NAMES = [
    "".join(letters)
    for length in range(1, 7)
    for letters in product(LETTERS, repeat=length)
    if letters[0] != "."
]
ELEMENTS = ["a", "b", ".", "-", "*", "*", "?", "[ab]", "[!a]", "[!ab.]", "[a-b]", "[b-a]"]
short_patterns = st.lists(st.sampled_from(ELEMENTS), max_size=3).map("".join)
wild_patterns = st.text(alphabet="ab.*?[]!-^\\&~|é\n", max_size=12)
endings = st.lists(st.sampled_from([".a", ".b", ".ab"]), max_size=2, unique=True)


unhurried = settings(deadline=None)  # a busy machine is no failure


def is_common(name: str, patterns: tuple[str, ...], endings: list[str]) -> bool:
    matches = all(fnmatchcase(name, pattern) for pattern in patterns)
    return matches and not name.endswith(tuple(endings))


@unhurried
@given(short_patterns, short_patterns, endings)
@example("*.a", "*.a", [".a"])
@example("*", ".*", [])
def test_agrees_with_trying_every_name(one: str, other: str, endings: list[str]) -> None:
    expected = next((name for name in NAMES if is_common(name, (one, other), endings)), None)

    found = common_name((one, other), endings)

    assert (found is None) == (expected is None)
    assert found is None or expected is None or len(found) == len(expected)


@unhurried
@given(wild_patterns, wild_patterns, endings)
@example("[]a]*", "[!]b]?", [])
@example("[", "[]", [])
@example("[\uffff-\U0010ffff]", "?", [])
def test_a_name_that_is_told_is_matched_by_both(one: str, other: str, endings: list[str]) -> None:
    found = common_name((one, other), endings)

    assert found is None or is_common(found, (one, other), endings)
    assert found is None or ("/" not in found and found[0] != ".")


@unhurried
@given(wild_patterns, st.text(alphabet="ab.[]!-", min_size=1, max_size=8))
def test_a_name_that_matches_is_never_missed(pattern: str, name: str) -> None:
    literal = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
    if fnmatchcase(name, pattern) and not name.startswith("."):
        assert common_name((pattern, literal)) == name


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("eLUX_*.csv", "SKYROAM_*.csv", None),
        ("eLUX_*.csv", "eLUX_*.CSV", None),
        ("eLUX_*.csv", "*_HOL_*.csv", "eLUX_HOL_.csv"),
        ("x_[0-9][0-9].csv", "x_?5.csv", "x_05.csv"),
        ("x_[0-9].csv", "x_[!0-9].csv", None),
        ("*?????????????????????a", "*?????????????????????b", None),
    ],
)
def test_patterns_as_operators_write_them(one: str, other: str, expected: str | None) -> None:
    assert common_name((one, other)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("x_*.csv", "x_*.cksum"),
        ("x_*.csv.gz", "x_*.csv.cksum"),
        ("x_*", "x_*.cksum"),
        ("x_*.[ct]sv", "x_*.cksum"),
        ("x", "x*.cksum"),
    ],
)
def test_companions_have_the_suffix_in_place_of_the_extension(pattern: str, expected: str) -> None:
    assert companion_pattern(pattern, ".cksum") == expected


@unhurried
@given(wild_patterns | short_patterns, st.text(alphabet="ab.-]", max_size=5))
@example("*", "a")
@example("a.?z", "a")
@example("**z", "")
@example("[", "")
@example("*[.][!a]z", "a.gz")
def test_an_ending_is_taken_off_exactly(pattern: str, name: str) -> None:
    for ending in (".gz", ".a", "]"):
        shorter = without_ending(pattern, ending)
        expected = fnmatchcase(name + ending, pattern)
        assert any(fnmatchcase(name, each) for each in shorter) == expected
