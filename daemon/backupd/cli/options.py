"""What all commands share: the config, and how it is found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import USAGE, fail
from backupd.config import ConfigMistakes, find, load

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
        return load(find(explicit, os.environ), environ=os.environ)
    except ConfigMistakes as mistakes:
        fail(str(mistakes), USAGE)
