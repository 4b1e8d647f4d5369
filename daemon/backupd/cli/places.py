"""What every command of `backupd-admin` starts from: the ledger, the socket, common options."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import click

from backupd.cli.options import load_config, read_config
from backupd.config import ConfigMistakes, find, load, load_places
from backupd.core.stages import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from backupd.config.sections import Config, ControlSection, LedgerSection
    from backupd.ledger import LedgerReader


class Places:
    """Where things are by the config that `--config` names (or the usual one)."""

    def __init__(self, config_path: Path | None) -> None:
        self._config_path = config_path

    @property
    def ledger(self) -> Path:
        """The ledger's file. Raises ConfigMistakes."""
        return self._both[0].path

    @property
    def socket(self) -> Path:
        """The daemon's control socket. Raises ConfigMistakes."""
        return self._both[1].socket

    @cached_property
    def _both(self) -> tuple[LedgerSection, ControlSection]:
        return load_places(find(self._config_path, os.environ))

    @contextmanager
    def reader(self) -> Iterator[LedgerReader]:
        """Open the ledger read-only. Raises LedgerError."""
        # SQLAlchemy takes a fifth of a second: `--help` and completion go without.
        from backupd.ledger import LedgerReader  # noqa: PLC0415

        reader = LedgerReader(self.ledger)
        try:
            yield reader
        finally:
            reader.close()

    def config(self) -> Config:
        """Return the whole config; mistakes in it end the program."""
        return load_config(self._config_path)

    def config_if_valid(self) -> Config | None:
        """Return the config without its secrets, which its user may not be allowed to read.

        With mistakes in it say so on stderr and return None.
        """
        try:
            return read_config(find(self._config_path, os.environ), with_secrets=False)
        except ConfigMistakes as error:
            count = len(error.mistakes)
            sys.stderr.write(
                f"note: {count} mistake(s) in the config (`backupd check` names them):"
                " what it says of feeds is left out\n"
            )
            return None


pass_places = click.make_pass_decorator(Places)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="JSON with stable keys; one object a line for lists."
)
stage_choice = click.Choice([str(stage) for stage in ORDER])


def _complete_feed(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the feeds and file types of the config, for a shell's completion."""
    config_path = context.find_root().params.get("config_path")
    try:
        feeds = load(find(config_path, os.environ), environ=os.environ).feeds
    except ConfigMistakes:
        return []
    names = {name for feed in feeds for name in (feed.name, feed.file_type)}
    return sorted(name for name in names if name.startswith(incomplete))


feed_option = click.option(
    "--feed",
    metavar="FEED",
    shell_complete=_complete_feed,
    help="A feed (traffic/eLUX), or all feeds of a file type (traffic).",
)
