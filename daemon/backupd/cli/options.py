"""What all commands share: the config, and how it is found."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import USAGE, fail
from backupd.config import ConfigMistakes, find, load, load_places
from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from backupd.config.sections import Config

config_option = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The config; else $BACKUPD_CONFIG, /etc/backupd/config.toml, ./config.toml.",
)


def load_config(explicit: Path | None) -> Config:
    """Load the config; its mistakes go to stderr, all of them, and end the program."""
    try:
        return read_config(find(explicit, os.environ))
    except ConfigMistakes as mistakes:
        fail(str(mistakes), USAGE)


def read_config(path: Path, *, with_secrets: bool = True) -> Config:
    """Return the config, as `load` does. Raises ConfigMistakes.

    A missing directory is no mistake where the ledger shows that it was there once: it is away, and
    the daemon starts without it, as after a boot with a disk that is not mounted yet.
    """
    seen = _seen_feeds(path)
    return load(path, environ=os.environ, seen=seen, with_secrets=with_secrets)


def _seen_feeds(path: Path) -> frozenset[str]:
    """Return the feeds that the ledger has seen; none, where it or the config cannot be read."""
    # SQLAlchemy takes a fifth of a second: `--help` goes without.
    from backupd.ledger import LedgerReader, places  # noqa: PLC0415

    with suppress(BackupdError):  # whoever needs them reports what is wrong
        reader = LedgerReader(load_places(path)[0].path)
        try:
            return reader.ask(places.seen_feeds)
        finally:
            reader.close()
    return frozenset()
