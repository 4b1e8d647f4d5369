from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.config import load
from backupd.config.sample import sections
from backupd.config.schema import CONFIG
from backupd.config.tables import NamedTables, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.readers import Key

SHIPPED = Path(__file__).parents[2] / "config.toml"


@pytest.fixture
def text(tmp_path: Path) -> str:
    """Give the shipped config with its directories moved below tmp_path, and make the feeds'."""
    for customer in ("eLUX", "SKYROAM"):
        for file_type in ("traffic", "actives"):
            below = f"backup1/MNAAS/Customer_CDR/{customer}/{file_type}"
            (tmp_path / below).mkdir(parents=True)
    return re.sub(r"/(backup1|var/lib)/", rf"{tmp_path}/\1/", SHIPPED.read_text())


def uncommented(text: str) -> str:
    """Put in force what is commented out: such lines have no space after the `#`."""
    return re.sub(r"^#(?=[\[a-z])", "", text, flags=re.MULTILINE)


def keys(table: Table) -> Iterator[str]:
    for name, entry in table.entries.items():
        yield name
        inner = entry.each if isinstance(entry, NamedTables) else entry
        if isinstance(inner, Table):
            yield from keys(inner)


def choices(table: Table) -> Iterator[tuple[str, Key]]:
    for name, entry in table.entries.items():
        inner = entry.each if isinstance(entry, NamedTables) else entry
        if isinstance(inner, Table):
            yield from choices(inner)
        elif inner.reader.in_short.startswith('"'):
            yield name, inner


def test_it_is_valid_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)

    config = load(path, environ={})

    names = ["traffic/eLUX", "traffic/SKYROAM", "actives/eLUX", "actives/SKYROAM"]
    assert [feed.name for feed in config.feeds] == names
    assert config.inactive == ()


def test_it_shows_the_defaults(tmp_path: Path, text: str) -> None:
    full, short = tmp_path / "full.toml", tmp_path / "short.toml"
    full.write_text(text)
    feeds = text[text.index("[feeds.traffic]") :]
    short.write_text(f'[archive]\nurl = "file://{tmp_path}/var/lib/backupd/archive"\n{feeds}')

    shown, default = load(full, environ={}), load(short, environ={})

    for section in ("intake", "batch", "retry", "concurrency", "archive", "cleanup", "control"):
        assert getattr(shown, section) == getattr(default, section)
    assert shown.warehouse.columns == default.warehouse.columns
    assert str(shown.ledger.path) == f"{tmp_path}{default.ledger.path}"
    assert str(shown.warehouse.embedded_root) == f"{tmp_path}{default.warehouse.embedded_root}"


def test_what_is_commented_out_is_valid_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    full = re.sub(r"^customers = .*\n", "", uncommented(text), count=1, flags=re.MULTILINE)
    path.write_text(full.replace("/etc/backupd/", f"{tmp_path}/"))
    (tmp_path / "customers").write_text("eLUX\nSKYROAM\n")
    for name in ("smtp-password", "on-incident"):
        (tmp_path / name).write_text("hunter2")
        (tmp_path / name).chmod(0o700)

    config = load(path, environ={})

    assert config.inactive == (
        "warehouse.hive",
        "warehouse.impala",
        "kerberos",
    )


def test_each_choice_is_explained() -> None:
    said = {each.name: each.words for section in sections() for each in section.settings}

    for name, key in choices(CONFIG):
        assert [
            each for each in re.findall(r'"[^"]+"', key.allowed) if each not in said[name]
        ] == []


def test_no_key_goes_unmentioned() -> None:
    lines = uncommented(SHIPPED.read_text())

    shown = set(re.findall(r"^\w+(?= =)|(?<=[\[.])\w+(?=[\].])", lines, re.MULTILINE))
    assert set(keys(CONFIG)) - shown == set()
