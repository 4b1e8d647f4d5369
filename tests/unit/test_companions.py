"""Companions: parsing what checksum programs write, and computing what they compute."""

from __future__ import annotations

import itertools
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.core.companions import (
    Claim,
    checker,
    decode,
    disagreement_key,
    parse,
    path_of,
    unreadable,
)
from support.intake import an_identity

if TYPE_CHECKING:
    from pathlib import Path

ALGORITHMS = {"cksum": "cksum", "md5": "md5sum", "sha256": "sha256sum"}


@pytest.mark.parametrize(("algorithm", "program"), ALGORITHMS.items())
@pytest.mark.parametrize("data", [b"", b"a", b"\x00" * 256, bytes(range(256)) * 300, b"x" * 65536])
def test_what_is_computed_is_what_the_real_program_prints(
    algorithm: str, program: str, data: bytes
) -> None:
    printed = subprocess.run([program], input=data, capture_output=True, check=True).stdout
    claim = parse(decode(printed), algorithm)
    computed = checker(algorithm)
    computed.update(data)
    assert claim is not None
    assert computed.claim().agrees(claim)


@given(data=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=4))
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_blocks_may_be_cut_anywhere(algorithm: str, data: bytes, cuts: list[int]) -> None:
    whole, pieces = checker(algorithm), checker(algorithm)
    whole.update(data)
    bounds = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(bounds):
        pieces.update(data[start : max(start, end)])
    assert pieces.claim().digest == whole.claim().digest


@pytest.mark.parametrize(
    "text",
    [
        "4294967295 0",
        "4294967295 0\n",
        "4294967295 0 eLUX 1.csv\n",
        "4294967295\t0\teLUX_1.csv\r\n",
        "\n  4294967295 0 name\n\n",
        "4294967295 0 /a/path/with\\backslash",
    ],
)
def test_a_line_of_cksum_is_read(text: str) -> None:
    assert parse(text, "cksum") == Claim("4294967295", 0)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{}\n",
        "{}  eLUX_1.csv\n",
        "{} *eLUX_1.csv\n",
        "\\{}  eLUX\\n1.csv\n",
        "{}  eLUX_1.csv\r\n",
    ],
)
@pytest.mark.parametrize(("algorithm", "digits"), [("md5", 32), ("sha256", 64)])
def test_a_line_of_a_hash_program_is_read(text: str, algorithm: str, digits: int) -> None:
    assert parse(text.format("Ab" * (digits // 2)), algorithm) == Claim("ab" * (digits // 2), None)


@pytest.mark.parametrize("name", ["eLUX_1.csv", "a (1) = b.csv", "back\\slash", "line\nbreak"])
@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_what_the_real_program_prints_with_tag_is_read(
    tmp_path: Path, algorithm: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"rows")
    command = [ALGORITHMS[algorithm], "--tag", name]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    computed = checker(algorithm)
    computed.update(b"rows")
    assert parse(decode(printed), algorithm) == Claim(computed.claim().digest, None)


def test_a_tag_of_another_program_is_no_claim() -> None:
    tagged = f"SHA256 (x) = {'ab' * 32}"
    assert parse(tagged, "md5") is None
    assert parse(tagged.replace("SHA256", "MD5"), "sha256") is None


@pytest.mark.parametrize(
    ("text", "likely"),
    [
        (f"SHA256 (x) = {'ab' * 32}", "sha256"),
        (f"{'ab' * 16}  x", "md5"),
        ("1234 5 x", "cksum"),
    ],
)
def test_a_line_of_another_algorithm_says_which(text: str, likely: str) -> None:
    for algorithm in ALGORITHMS.keys() - {likely}:
        assert f'companion_algorithm = "{likely}"' in unreadable(text, algorithm)
    assert "companion_algorithm" not in unreadable("garbage", "md5")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "garbage",
        "12",
        "12 x",
        "-1 2",
        "1 2\n3 4",
        "ab" * 20,
        "g" * 32,
        "\x00\x00",
        "1 2x",
    ],
)
def test_anything_else_is_no_claim(algorithm: str, text: str) -> None:
    assert parse(text, algorithm) is None


@given(text=st.text())
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_text_makes_parsing_fail(algorithm: str, text: str) -> None:
    parse(text, algorithm)


def test_bytes_that_are_not_utf8_are_shown() -> None:
    assert decode(b"1 2 \xff\n") == "1 2 \\xff\n"


def test_claims_agree_when_digest_and_known_sizes_do() -> None:
    assert Claim("1", 2).agrees(Claim("1", 2))
    assert Claim("1", None).agrees(Claim("1", 2))
    assert not Claim("1", 3).agrees(Claim("1", 2))
    assert not Claim("2", 2).agrees(Claim("1", 2))


@pytest.mark.parametrize(
    ("data", "companion"),
    [
        ("/f/eLUX_1.csv", "/f/eLUX_1.SEM"),
        ("/f/eLUX_1.csv.gz", "/f/eLUX_1.csv.SEM"),
        ("/f.d/eLUX_1", "/f.d/eLUX_1.SEM"),
    ],
)
def test_a_companion_takes_the_place_of_the_last_extension(data: str, companion: str) -> None:
    assert path_of(data, ".SEM") == companion


def test_a_pair_that_changed_in_any_way_has_another_key() -> None:
    same = an_identity()
    keys = {
        disagreement_key(same, same, "text"),
        disagreement_key(an_identity(size=11), same, "text"),
        disagreement_key(same, an_identity(mtime_ns=1), "text"),
        disagreement_key(same, same, "text\udcff"),
    }
    assert len(keys) == 4
    assert disagreement_key(an_identity(), an_identity(), "text") in keys
