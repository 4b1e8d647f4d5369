"""Times as people write and read them. Inside, all are seconds since the epoch, UTC."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from math import isinf
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_AGO = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_EXACT_BELOW = 10  # seconds: beyond, fractions of a second only distract


def parse_since(text: str, now: float) -> float:
    """Read `2h`, `3d`, `2026-11-23` or `2026-11-23T08:15:00Z`; without a zone it is UTC.

    Raises ValueError for anything else.
    """
    if match := _AGO.fullmatch(text.strip()):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])}).total_seconds()
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def iso(at: float | None) -> str | None:
    """Return a time as ISO 8601 with milliseconds and `Z`; None for none, and for never."""
    if at is None or isinf(at):
        return None
    moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def moment(at: float | None) -> str:
    """Return a time for people: ISO 8601 to the second; a dash for none."""
    exact = iso(at)
    return f"{exact[:-5]}Z" if exact else "-"


def span(seconds: float) -> str:
    """Return a duration for people, in two units at most."""
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < _EXACT_BELOW:
        return f"{seconds:.1f} s"
    whole = int(seconds)  # rounded down: rounded up, 59.9 s would read as 60 s
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02}h"


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
