"""The id of a file's row comes from the file alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from backupd.core.rows import ROW_ID_FORM, row_id
from backupd.core.stages import Stage
from support.files import a_file

SHA256, OTHER_SHA256 = "ab" * 32, "cd" * 32
FILE = a_file(Stage.MANIFEST, row_id=None)


def test_it_is_what_it_was_in_every_version() -> None:
    """Written down: where it changed, each file that comes again would get a second row."""
    assert row_id(FILE, SHA256) == "ef4711ea8a39bef4d5896ec85d0687a1"
    parts = b"traffic\0eLUX\0eLUX_1.csv\0" + SHA256.encode()
    assert row_id(FILE, SHA256) == hashlib.sha256(parts).hexdigest()[:32]
    assert ROW_ID_FORM.fullmatch(row_id(FILE, SHA256))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"path": "/elsewhere/eLUX_1.csv"},
        {"first_seen_at": 5.0, "file_timestamp": 7.0, "record_count": 3},
        {"companion_path": None, "archive_name": "elsewhere"},
        {"row_id": "00" * 16, "sha256": OTHER_SHA256},
    ],
    ids=str,
)
def test_nothing_else_is_part_of_it(changes: dict[str, object]) -> None:
    assert row_id(replace(FILE, **changes), SHA256) == row_id(FILE, SHA256)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"file_type": "traffi", "customer": "ceLUX"},
        {"customer": "eLUXe", "relative_path": "LUX_1.csv"},
        {"customer": "ELUX"},
        {"relative_path": "sub/eLUX_1.csv"},
        {"relative_path": "eLUX_1.csv\udcff"},
    ],
    ids=ascii,
)
def test_type_customer_and_name_below_the_feed_are(changes: dict[str, object]) -> None:
    assert row_id(replace(FILE, **changes), SHA256) != row_id(FILE, SHA256)  # type: ignore[arg-type]


def test_other_content_is_another_row() -> None:
    assert row_id(FILE, OTHER_SHA256) != row_id(FILE, SHA256)


def test_a_file_keeps_the_one_that_it_has_as_long_as_its_content() -> None:
    older = replace(FILE, row_id="0198f2c1a7b4d9e8f7a6", sha256=SHA256, relative_path="renamed")
    assert row_id(older, SHA256) == "0198f2c1a7b4d9e8f7a6"
