"""Times and durations as people write and read them.

Inside, times are seconds since the epoch, UTC, and durations are seconds.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

DURATION_FORMS = 'numbers with w, d, h, m, s or ms, such as "500ms", "1.5s" or "1h30m"'
_MILLISECONDS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,6})?"
_DURATION = re.compile("".join(f"(?:(?P<{unit}>{_NUMBER}){unit})?" for unit in _MILLISECONDS))
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_FIRST = datetime(1, 1, 1, tzinfo=UTC).timestamp()
_PAST_LAST = datetime(9999, 12, 31, tzinfo=UTC).timestamp() + _DAY
_STEP = 1.0  # seconds: less is how clocks are disciplined, and holds nothing up
_AT_ONCE = 0.1  # seconds: two clocks that are read within it are read at the same moment
_EXACT_BELOW = 10  # seconds: beyond, fractions of a second only distract


def duration(text: str) -> float:
    """Read a duration in DURATION_FORMS, the largest unit first, into seconds.

    Raises ValueError for anything else.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r} is not a duration: {DURATION_FORMS}")
    numbers = ((Decimal(number), unit) for unit, number in match.groupdict("0").items())
    return float(sum(number * _MILLISECONDS[unit] for number, unit in numbers) / 1000)


DATE_FORM = re.compile(r"\d{4}-\d{2}-\d{2}")  # of a file_date


def has_date(at: float) -> bool:
    """Return whether a time lies in the years 1 to 9999: others cannot be written down."""
    return _FIRST <= at < _PAST_LAST


def iso(at: float | None) -> str | None:
    """Return a time as ISO 8601 with milliseconds and `Z`; None for none, never, and no date."""
    if at is None or not has_date(at):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """The longest that anything waits by itself, in seconds; `kept`: a file that was shipped."""

    longest: float
    kept: float


def booted_at() -> float:
    """Return when this host was started, by its clock as it is set now."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class StepFinder:
    """Compares the clock with one that nobody can set."""

    def __init__(self) -> None:
        self._ahead = _ahead()

    def step(self) -> float:
        """Return by how many seconds the clock was set since the last call; 0 where it was not."""
        before, self._ahead = self._ahead, _ahead()
        step = self._ahead - before
        return step if abs(step) >= _STEP else 0.0


def _ahead() -> float:
    while True:
        before, at, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < _AT_ONCE:  # else this process was held up between them
            return at - before
