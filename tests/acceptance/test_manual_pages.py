"""The manual pages, made as the Debian package makes them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from backupd.cli.admin import main as admin
from backupd.cli.daemon import main as daemon
from backupd.config.schema import CONFIG
from backupd.config.tables import NamedTables, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[2]
MACROS = {"TH", "SH", "SS", "PP", "TP", "TQ", "nf", "fi"}


@pytest.fixture
def pages(tmp_path: Path) -> dict[str, str]:
    """Give each page's source by its name."""
    subprocess.run(
        [sys.executable, CHECKOUT / "packaging/manpages.py", tmp_path],
        check=True,
    )
    return {page.name: page.read_text() for page in tmp_path.iterdir()}


def keys(table: Table) -> Iterator[str]:
    for name, entry in table.entries.items():
        inner = entry.each if isinstance(entry, NamedTables) else entry
        yield from keys(inner) if isinstance(inner, Table) else [name]


@pytest.mark.parametrize(("page", "program"), [("backupd.1", daemon), ("backupd-admin.1", admin)])
def test_a_programs_page_has_all_commands_with_all_options(
    pages: dict[str, str], page: str, program: click.Group
) -> None:
    context = click.Context(program)
    sections = pages[page].split("\n.SS ")[1:]

    shown = {section.split("\n")[0].replace("\\", ""): section for section in sections}

    name = page.removesuffix(".1")
    assert list(shown) == [f"{name} {each}" for each in program.list_commands(context)]
    for each in program.list_commands(context):
        command = program.get_command(context, each)
        assert command is not None
        section = shown[f"{name} {each}"].replace("\\-", "-")
        for option in (each for each in command.params if isinstance(each, click.Option)):
            assert f"\\fB{option.opts[0]}" in section


def test_the_configs_page_has_every_key_with_its_value(pages: dict[str, str]) -> None:
    shown = re.findall(r"^\\fB(\w+)\\fR = \S", pages["backupd-config.5"], re.MULTILINE)

    assert set(shown) == set(keys(CONFIG))


def test_what_means_something_to_roff_is_printed_as_it_is(pages: dict[str, str]) -> None:
    assert r"\(aq_(\ed{14})\(aq" in pages["backupd-config.5"]
    for page in pages.values():
        requests = re.findall(r"^[.'](\w*)", page, re.MULTILINE)
        assert set(requests) <= MACROS
