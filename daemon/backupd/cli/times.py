"""Times as people write them and, from the core, read them. Inside, all are seconds, UTC."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from backupd.core.times import duration, iso, moment, span

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["iso", "moment", "parse_since", "since_option", "span"]


def parse_since(text: str, now: float) -> float:
    """Read `2h`, `1d12h`, `2026-11-23` or `2026-11-23T08:15:00Z`; without a zone it is UTC.

    Raises ValueError for anything else.
    """
    with suppress(ValueError):
        return now - duration(text.strip())
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _read_since(_: click.Context, param: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return parse_since(text, time.time())
    except (ValueError, OverflowError):
        problem = f"{text!r} is no time: 2h, 3d, 2026-11-23 or 2026-11-23T08:15:00Z"
        raise click.BadParameter(problem, param=param) from None


def since_option(help_text: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """Return a `--since` option, which gives seconds since the epoch."""
    return click.option("--since", metavar="TIME", callback=_read_since, help=help_text)
