"""Whose keys a keytab holds."""

from __future__ import annotations

import struct

import pytest

from backupd.config.keytab import principals
from support.keytabs import VERSION, entry, hole, keytab

NAMES = ["backupd@EXAMPLE", "backupd/host.example@EXAMPLE"]


def test_each_principal_is_named_once_in_the_files_order() -> None:
    assert principals(keytab(*NAMES, *NAMES, "übung@EXAMPLE")) == [*NAMES, "übung@EXAMPLE"]


def test_holes_that_removed_keys_left_are_passed_over() -> None:
    first, second = map(entry, NAMES)
    content = VERSION + hole(70) + first + hole(1) + second + hole(12)
    assert principals(content) == NAMES


def test_a_hole_that_was_an_entry_is_one_whatever_lies_in_it() -> None:
    old = entry("gone@EXAMPLE")
    removed = struct.pack(">i", 4 - len(old)) + old[4:]
    assert principals(VERSION + removed + entry(NAMES[0])) == NAMES[:1]


def test_a_length_of_zero_ends_the_file() -> None:
    assert principals(keytab(NAMES[0]) + bytes(4) + b"whatever was there before") == NAMES[:1]


def test_a_keytab_may_hold_no_key() -> None:
    assert principals(VERSION) == []
    assert principals(VERSION + hole(40)) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\x05", b"-----BEGIN CERTIFICATE-----\n", b"\x05\x01" + keytab(NAMES[0])[2:]],
)
def test_anything_else_is_no_keytab(content: bytes) -> None:
    with pytest.raises(ValueError, match="is no keytab of version 0x0502"):
        principals(content)


def test_a_keytab_that_is_cut_off_anywhere_is_damaged() -> None:
    content = keytab(NAMES[1])
    for left in range(len(VERSION) + 1, len(content)):
        with pytest.raises(ValueError, match="is a keytab that is cut off or damaged"):
            principals(content[:left])


@pytest.mark.parametrize(
    "record",
    [
        b"\x00",
        b"\x00\x01\x00\x02EX\xff\xff",
        b"\x00\x01\x00\x02EX\x00\x02\xff\xfe",
    ],
)
def test_a_record_that_makes_no_sense_is_damage(record: bytes) -> None:
    with pytest.raises(ValueError, match="cut off or damaged"):
        principals(VERSION + struct.pack(">i", len(record)) + record)
