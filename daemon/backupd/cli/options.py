"""What the commands share: how the config is found, the ledger, the socket, common options."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backupd.cli.errors import USAGE, fail
from backupd.config import ConfigMistakes, find, load, load_places
from backupd.core.errors import BackupdError
from backupd.core.stages import ORDER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.sections import Config, ControlSection, LedgerSection
    from backupd.ledger import LedgerReader

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


def read_config(
    path: Path, *, with_secrets: bool = True, document: dict[str, Any] | None = None
) -> Config:
    """Return the config, as `load` does. Raises ConfigMistakes.

    A missing directory is no mistake where the ledger shows that it was there once: it is away, and
    the daemon starts without it, as after a boot with a disk that is not mounted yet.
    """
    seen = _seen_feeds(path)
    return load(path, environ=os.environ, seen=seen, with_secrets=with_secrets, document=document)


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

    def checked_config(self, *, with_secrets: bool = True) -> Config:
        """Return the whole config. Raises ConfigMistakes."""
        return read_config(find(self._config_path, os.environ), with_secrets=with_secrets)

    def config_if_valid(self) -> Config | None:
        """Return the config without its secrets, which its user may not be allowed to read.

        With mistakes in it say so on stderr and return None.
        """
        try:
            return self.checked_config(with_secrets=False)
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
