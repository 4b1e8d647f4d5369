"""Times as people read them. Inside, all are seconds since the epoch, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isinf

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_EXACT_BELOW = 10  # seconds: beyond, fractions of a second only distract


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
