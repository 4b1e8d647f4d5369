"""Writes the manual pages out of what the programs' help and the config's schema say of themselves.

    python packaging/manpages.py DIRECTORY

makes backupd.1, backupd-admin.1 and backupd-config.5 in DIRECTORY, in the macros of man(7).
"""

from __future__ import annotations

import inspect
import re
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.admin import main as admin
from backupd.cli.daemon import main as daemon
from backupd.config.sample import paragraphs, sections, toml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backupd.config.sample import Section, Setting

VERBATIM = "\b\n"  # click's mark of a paragraph whose lines stay as they are

ENVIRONMENT = {
    "BACKUPD_CONFIG": "The config, where --config is not given.",
    "ENV_MODE": "prod or dev; goes before the config's key environment.",
}
FILES = {
    "/etc/backupd/config.toml": "The config: backupd-config(5).",
    "/usr/share/backupd/config.toml": "One to start from, with every key.",
    "/var/lib/backupd/ledger.db": "The ledger: what became of each file.",
    "/run/backupd/control.sock": "By which backupd-admin asks the daemon.",
}
PAGES = ("backupd(1)", "backupd-admin(1)", "backupd-config(5)")


def program_page(name: str, group: click.Group) -> str:
    """Return the page of a program: all of its commands, each with its options and examples."""
    context = click.Context(group, info_name=name, **group.context_settings)
    purpose, *rest = _paragraphs(group.help)
    commands = [(each, group.get_command(context, each)) for each in group.list_commands(context)]
    return "\n".join(
        [
            *_head(name, 1, purpose),
            ".SH SYNOPSIS",
            *_usage(name, group),
            ".SH DESCRIPTION",
            *_text([purpose, *rest]),
            ".SH OPTIONS",
            *_options(group.get_params(context), context),
            ".SH COMMANDS",
            *(
                line
                for each, command in commands
                if command
                for line in _command(f"{name} {each}", command)
            ),
            ".SH NOTES",
            *_text(_paragraphs(group.epilog)),
            ".SH ENVIRONMENT",
            *_entries(ENVIRONMENT.items()),
            ".SH FILES",
            *_entries(FILES.items()),
            *_see_also(f"{name}(1)"),
            "",
        ]
    )


def config_page() -> str:
    """Return the page of the config, made of the schema's words and the sample's values."""
    file, *others = sections()
    lines = [
        *_head("backupd-config", 5, "the config of backupd, /etc/backupd/config.toml."),
        ".SH DESCRIPTION",
        *_text(paragraphs(file.words)),
        ".SH SETTINGS",
        *_settings(file.settings),
        *(line for section in others for line in _section(section)),
        *_see_also("backupd-config(5)"),
    ]
    return "\n".join([*lines, ""])


def _head(name: str, section: int, purpose: str) -> list[str]:
    title = f'.TH {name.upper()} {section} "" "backupd {version("backupd")}" "backupd"'
    return [title, ".SH NAME", f"{name} \\- {_escaped(purpose[0].lower() + purpose[1:-1])}"]


def _see_also(own: str) -> list[str]:
    return [".SH SEE ALSO", ", ".join(_escaped(page) for page in PAGES if page != own)]


# ------------------------------------------------------------------ commands


def _command(name: str, command: click.Command) -> Iterator[str]:
    yield f".SS {_escaped(name)}"
    yield from _usage(name, command)
    yield ".PP"
    yield from _text(_paragraphs(command.help))
    yield from _options(command.params, click.Context(command, info_name=name))
    yield ".PP"
    yield from _text(_paragraphs(command.epilog))


def _usage(name: str, command: click.Command) -> list[str]:
    context = click.Context(command, **command.context_settings)
    pieces = command.collect_usage_pieces(context)
    return [f"\\fB{_escaped(name)}\\fR {_escaped(' '.join(pieces))}"]


def _options(parameters: list[click.Parameter], context: click.Context) -> list[str]:
    options = (each for each in parameters if isinstance(each, click.Option))
    return _entries(filter(None, (each.get_help_record(context) for each in options)))


def _paragraphs(text: str | None) -> list[str]:
    """Split a help text at its empty lines, as click does."""
    return re.split(r"\n\s*\n", inspect.cleandoc(text or ""))


# ------------------------------------------------------------------ the config


def _section(section: Section) -> Iterator[str]:
    yield f".SS {_escaped(f'[{section.name}]')}"
    yield from _text(paragraphs(section.words))
    yield from _settings(section.settings)


def _settings(settings: list[Setting]) -> Iterator[str]:
    """Yield the keys with their values. Those without words share the words of the one before."""
    words = ""
    for number, setting in enumerate(settings):
        if setting.words or number == 0:
            yield from filter(None, [words])
            yield ".TP"
            words = _escaped(setting.words)
        else:
            yield ".TQ"
        yield f"\\fB{_escaped(setting.name)}\\fR = {_escaped(toml(setting.value))}"
    yield from filter(None, [words])


# ------------------------------------------------------------------ roff


def _text(paragraphs: list[str]) -> Iterator[str]:
    for number, paragraph in enumerate(filter(None, paragraphs)):
        if number:
            yield ".PP"
        if paragraph.startswith(VERBATIM):
            lines = paragraph.removeprefix(VERBATIM).splitlines()
            yield from [".nf", *map(_escaped, lines), ".fi"]
        else:
            yield _escaped(" ".join(paragraph.split()))


def _entries(entries: Iterable[tuple[str, str]]) -> list[str]:
    return [
        line
        for term, text in entries
        for line in (".TP", f"\\fB{_escaped(term)}\\fR", _escaped(text) or "\\&")
    ]


def _escaped(text: str) -> str:
    """Return a line that roff prints as it is."""
    quoted = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga")
    )
    return "\\&" + quoted if quoted.startswith(".") else quoted


def main(directory: str) -> None:
    """Write the pages; the directory is made if it is missing."""
    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    pages = {
        "backupd.1": program_page("backupd", daemon),
        "backupd-admin.1": program_page("backupd-admin", admin),
        "backupd-config.5": config_page(),
    }
    for name, page in pages.items():
        (place / name).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
