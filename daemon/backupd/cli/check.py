"""`backupd check`: report whether the config is right, and whether all that it names works."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backupd.cli.errors import FAILED
from backupd.cli.options import config_option, load_config
from backupd.cli.program import limit_warnings
from backupd.completeness.words import due_next, in_words
from backupd.config import answering, write_paths
from backupd.core.names import UNFINISHED
from backupd.localfs.leases import why_writers_unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.completeness.expectations import Expectations
    from backupd.config.sections import Config
    from backupd.core.ports import Probe
    from backupd.core.records import Feed


@click.command(
    epilog="""\
\b
Exit: 0 all is right; 1 a probe failed, or a place was not marked; 2 the config has mistakes.

\b
Examples:
  backupd check --config /etc/backupd/config.toml
  backupd check --probe
  backupd check --new-place
"""
)
@config_option
@click.option("--probe", "action", flag_value="probe", help="Also try every dependency for real.")
@click.option(
    "--new-place",
    "action",
    flag_value="new-place",
    help="Mark the archive's and the warehouse's place as the right ones, after asking.",
)
@click.option("--yes", is_flag=True, help="With --new-place: do not ask.")
@click.option(
    "--ddl", "action", flag_value="ddl", help="Print the CREATE statements that this config wants."
)
@click.option(
    "--write-paths",
    "action",
    flag_value="write-paths",
    help="Print the directories that must be writable.",
)
def check(config_path: Path | None, action: str | None, yes: bool) -> None:
    """Check the config: every mistake at once, each with its key, on stderr.

    --probe writes, reads back and removes something in the ledger's directory, each feed's
    directory, the warehouse and the archive, and prints what worked and what to do about the rest.

    --new-place is for an archive or a warehouse that was moved on purpose: backupd knows each by a
    mark in it, the file .backupd-id, and writes nothing to a place that lacks it. Run it as the
    service's user, who must be able to write there.
    """
    config = load_config(config_path)
    match action:
        case "probe":
            sys.exit(_probe(config))
        case "new-place":
            _take_over(config, agreed=yes)
        case "ddl":
            from backupd.warehouse.ddl import ddl  # noqa: PLC0415 - only needed here

            click.echo(ddl(config.warehouse))
        case "write-paths":
            click.echo("\n".join(map(str, write_paths(config))))
        case _:
            _tell_valid(config)


def _tell_valid(config: Config) -> None:
    click.echo(f"the config is valid: {len(config.feeds)} feeds, environment {config.environment}")
    for name, expected in config.expectations.items():
        click.echo(f"{name} expects {_in_words(expected)}")
    for warning in _warnings(config):
        click.echo(f"warning: {warning}", err=True)


def _warnings(config: Config) -> Iterator[str]:
    for directory in config.silent:
        yield f"{directory} does not answer: it was not looked at"
    for feed in answering(config):
        if not Path(feed.directory).is_dir():
            yield f"the directory of feed {feed.name} is unavailable"
    for file in config.customers_files:
        if file.trouble:
            kept = f"the last good list stays, of {len(file.customers)}"
            yield f"{file.path} {file.trouble}: {kept}"
    yield from open_file_warnings(config)
    yield from limit_warnings(config)
    for inactive in config.inactive:
        yield f"{inactive} is not acted on"


def _in_words(expected: Expectations) -> str:
    """Say what is expected of a feed, and when the next date is due."""
    due = due_next(expected, time.time())
    return "; ".join([*in_words(expected), *([due] if due else [])])


def _probe(config: Config) -> int:
    from backupd.cli.probes import all_probes, show  # noqa: PLC0415 - brings the adapters

    probes: list[Probe] = asyncio.run(all_probes(config))
    show(probes)
    return 0 if all(probe.ok for probe in probes) else FAILED


def _take_over(config: Config, *, agreed: bool) -> None:
    from backupd.cli.new_place import take_over  # noqa: PLC0415 - brings the adapters

    take_over(config, agreed=agreed)


_FEEDS_NAMED = 5  # feeds
_ADVICE = (
    "have each delivered with a companion, or under a name with a leading dot or ending in"
    f" {', '.join(UNFINISHED[:-1])} or {UNFINISHED[-1]} that is renamed when it is whole; else set"
    " intake.settle_for above the longest pause of a sender"
)


def open_file_warnings(config: Config) -> Iterator[str]:
    """Yield a warning for each reason why the kernel cannot report writers of some feeds' files."""
    if config.intake.open_files == "off":
        return
    reasons: dict[str, list[str]] = defaultdict(list)
    for feed in answering(config):
        reason = _reason(feed)
        if reason is not None:
            reasons[reason].append(feed.name)
    for reason, feeds in reasons.items():
        yield (
            f"the kernel cannot tell whether files of {_named(feeds)} are still being written"
            f" ({reason}): {_ADVICE}"
        )


def _reason(feed: Feed) -> str | None:
    """Return why; None where it does not matter: a companion shows that its file is complete."""
    if feed.companion is not None and feed.companion.required:
        return None
    try:
        return why_writers_unknown(feed.directory)
    except OSError:
        return None  # away, or cannot be listed: that is reported elsewhere


def _named(feeds: Sequence[str]) -> str:
    more = len(feeds) - _FEEDS_NAMED
    return ", ".join(feeds[:_FEEDS_NAMED]) + (f" and {more} more feeds" if more > 0 else "")
