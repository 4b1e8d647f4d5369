from __future__ import annotations

import pytest

from backupd.migration.declarations import DumpError, Value, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'declare -- v="a b"', "a b"),
        (r'declare -irx v="5"', "5"),
        (r'declare -- v="\"q\" \\ \$x \`y\`"', '"q" \\ $x `y`'),
        ('declare -- v="two\nlines"', "two\nlines"),
        (r"declare -- v=$'\a\b\E\f\n\r\t\v\\\'\"'", "\a\b\x1b\f\n\r\t\v\\'\""),
        (r"declare -- v=$'\303\251 \x41 \u20ac \U1f600 \cA \q'", "é A € 😀 \x01 \\q"),
        (r"declare -- v=$'\303'", "\udcc3"),
        ('declare -a v=([0]="a" [5]="b")', {"0": "a", "5": "b"}),
        ('declare -A v=([a]="1" ["b c"]="2" [$\'d\\n\']="3" )', {"a": "1", "b c": "2", "d\n": "3"}),
        ("declare -A v=()", {}),
        ("""declare -a v='([0]="it'\\''s" [1]="b")'""", {"0": "it's", "1": "b"}),
        ('declare -- v="of Windows"\r', "of Windows"),
    ],
)
def test_each_form_of_a_value_is_read(text: str, value: Value) -> None:
    assert read(text.encode() + b"\n") == {"v": value}


def test_a_variable_without_a_value_is_left_out() -> None:
    assert read(b'declare -x v\ndeclare -A w\ndeclare -- x="1"\n') == {"x": "1"}


def test_a_reference_has_the_value_that_it_leads_to() -> None:
    text = b'declare -n here="there"\ndeclare -n nowhere="gone"\ndeclare -- there="1"\n'

    assert read(text) == {"there": "1", "here": "1"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("v=1", 1),
        ("export v=1", 1),
        ("noise\n", 1),
        ('declare -- v="1"\nnoise\n', 2),
        ('declare -- v="1" noise', 1),
        ("declare -- v=1", 1),
        ('declare -- v="$(id)"', 1),
        ('declare -- v="`id`"', 1),
        ('declare -- v="unended', 1),
        ("declare -- v=$'unended", 1),
        ('declare -a v=([0]="a"', 1),
        ('declare -a v=([0]=$(id))', 1),
        ('declare -a v=("a")', 1),
        ('declare -A v=([$(id)]="a")', 1),
        ("declare -a v='([0]=\"a\") x'", 1),
        ('declare -- v="1"\n\ndeclare -- w="2"', 2),
        ('declare -f v="1"', 1),
        ('declare -- 1v="1"', 1),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(DumpError, match=f"^line {line} is not what"):
        read(text.encode())


def test_a_refusal_repeats_nothing() -> None:
    with pytest.raises(DumpError) as raised:
        read(b"PASSWORD=hunter2\n")

    assert "hunter2" not in str(raised.value)
