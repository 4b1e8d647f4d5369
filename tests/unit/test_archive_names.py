"""What a file is called in the archive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.core.archive_names import archive_name, is_gzip_name, too_long, versioned
from support.intake import a_feed

SHA = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("directory", "relative_path", "compress", "name"),
    [
        ("eLUX/traffic", "a.csv", True, "eLUX/traffic/a.csv.gz"),
        ("eLUX/traffic", "a.csv", False, "eLUX/traffic/a.csv"),
        ("eLUX/traffic", "a.csv.gz", True, "eLUX/traffic/a.csv.gz"),
        ("eLUX/traffic", "a.csv.gz", False, "eLUX/traffic/a.csv.gz"),
        ("eLUX/traffic/", "sub/dir/a.csv", True, "eLUX/traffic/sub/dir/a.csv.gz"),
        ("", "a.csv", True, "a.csv.gz"),
        (".", "a.csv", True, "a.csv.gz"),
        ("x", "a.csv.GZ", True, "x/a.csv.GZ"),
        ("x", "a.csv.Gz", True, "x/a.csv.Gz"),
        ("x", "a.GZ/b.csv", True, "x/a.GZ/b.csv.gz"),
        ("x", "-rf $(a) 'b';.csv", True, "x/-rf $(a) 'b';.csv.gz"),
    ],
)
def test_the_name_of_a_file(directory: str, relative_path: str, compress: bool, name: str) -> None:
    feed = a_feed("/feed", archive_directory=directory)
    assert archive_name(feed, relative_path, compress=compress) == name


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("x/a.csv.gz", "x/a.csv.01234567.gz"),
        ("x/a.csv.GZ", "x/a.csv.01234567.GZ"),
        ("x/a.csv", "x/a.csv.01234567"),
        ("x.gz/a", "x.gz/a.01234567"),
    ],
)
def test_other_content_under_a_taken_name_is_told_by_its_hash(name: str, other: str) -> None:
    assert versioned(name, SHA) == other


def test_a_part_of_more_than_255_bytes_is_too_long_whatever_its_characters() -> None:
    assert not too_long("d" * 300 + "/" + "x" * 255)
    assert too_long("x" * 256)
    assert not too_long("é" * 127)
    assert too_long("é" * 128)


parts = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=30
).filter(lambda part: part not in {".", ".."})


@given(parts, parts, st.text("0123456789abcdef", min_size=64, max_size=64), st.booleans())
def test_no_two_files_of_a_feed_have_the_same_name_but_a_gz_and_its_text(
    first: str, second: str, sha256: str, compress: bool
) -> None:
    feed = a_feed("/feed")
    one = archive_name(feed, first, compress=compress)
    other = archive_name(feed, second, compress=compress)
    if one == other:
        assert first == second or {first, second} in (
            {first, first + ".gz"},
            {second, second + ".gz"},
        )
    assert versioned(one, sha256) != one
    assert is_gzip_name(versioned(one, sha256)) == is_gzip_name(one)
