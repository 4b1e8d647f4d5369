"""A file that came, as it is counted: written down with the move by which its content is known."""

from __future__ import annotations

from typing import NamedTuple


class Number(NamedTuple):
    """The number in a file's name, and the name with the number's digits left out."""

    source: str  # "" where the names tell none
    number: int
    before: str
    after: str
    width: int  # digits


class Arrival(NamedTuple):
    """One file that came."""

    feed: str
    day: int  # its date: days since 1970-01-01
    at: float  # seconds since the epoch
    records: int
    size: int  # bytes
    number: Number | None
