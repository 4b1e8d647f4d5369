"""The files of a demo: which there are, what is in them, when and how they are delivered.

Their text is invented throughout: the subscribers' numbers come from ranges that are nobody's.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, cycle
from pathlib import Path
from random import Random
from time import gmtime, strftime
from typing import TYPE_CHECKING, NamedTuple

from backupd.core.archive_names import is_gzip_name
from backupd.core.companions import checker, path_of
from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backupd.core.records import CompanionRule, Feed

FEWEST = 16  # files that it takes to show everything

_DAY = 86_400
_QUARTER = 900.0  # seconds of an hour
_NUMBERS = (41, 42, 44, 45)
_DAYS = 3  # that the files are spread over
_KB, _MB = 1000, 1000_000
_LARGE = (32 * _MB, 12 * _MB, 5 * _MB)
_EMPTY = (0, 0)
_USUAL = (9.5, 1.5)  # of the logarithm of a file's bytes: the middle one has 13 KB
_LATER = 10  # one file in so many comes while the daemon is watching already
_LOST = 500  # bytes that the damaged file lacks

# A file's path below its feed's directory, for `strftime`; how many come while others do.
_TYPES = {
    "traffic": ("{customer}_HOL_01_%Y%m%d%H%M%S_{number:06}.csv", 6),
    "tolling": ("{customer}_SNG_01_%Y%m%dT%H%M_{number:06}.csv.gz", 4),
    "actives": ("{customer}-ACTIVES-%Y%m%d-{number:06}.csv", 1),
    "activations": ("{customer}_HOL_01_%Y%m%d%H%M%S_{number:06}.csv", 3),
    "roaming": ("{customer}_HOL_01_%Y%m%d%H%M%S_{number:06}.csv", 0),
    "sim_inventory": ("%Y/%m/%d/{customer}_SIM_%Y%m%d%H%M%S_{number:06}.csv", 2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One file to deliver. The same delivery twice is the same name and content twice."""

    feed: Feed
    relative_path: str
    size_bytes: int  # of its text, about
    seed: int  # of its text
    damaged: bool = False  # its end is lost after its checksum was taken

    @property
    def path(self) -> Path:
        """Where it is delivered."""
        return Path(self.feed.directory, self.relative_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is delivered, in this order."""

    first: Sequence[Delivery]  # lie there when the daemon starts
    later: Sequence[Delivery]  # come while it is watching
    again: Delivery  # one of `first`: comes a second time once it was dealt with
    corrected: Delivery  # comes under the name of one of `first`, with other content
    damaged: Delivery  # one of `first`: will be parked
    numbered: Sequence[Delivery]  # among `first`: a number between them never comes

    @property
    def redelivered(self) -> tuple[Delivery, Delivery]:
        """The two that need a name to be free again."""
        return self.again, self.corrected

    @property
    def files(self) -> int:
        """How many files it is in all."""
        return len(self.first) + len(self.later) + len(self.redelivered)


def plan(feeds: Sequence[Feed], files: int, now: float) -> Plan:
    """Plan so many files (`FEWEST` at least) with names of the days up to `now`."""
    deal = _Dealer(feeds, now)
    damaged = replace(deal.traffic(60 * _KB), damaged=True)
    again, former = deal.traffic(20 * _KB), deal.traffic(20 * _KB)
    numbered = deal.numbered()
    special = [damaged, again, former, *numbered]
    special += [deal.traffic(size) for size in (*_LARGE, *_EMPTY)]
    usual = [deal.usual() for _ in range(files - len(special) - 2)]
    later = max(len(usual) // _LATER, 1)
    return Plan(
        first=[*special, *usual[later:]],
        later=usual[:later],
        again=again,
        corrected=replace(former, seed=former.seed + 1),
        damaged=damaged,
        numbered=numbered,
    )


def deliver(delivery: Delivery) -> None:
    """Write the file, then its companion, as the platform does. Raises BackupdError."""
    path, feed = delivery.path, delivery.feed
    text = records(feed.file_type, feed.header_lines, delivery.size_bytes, delivery.seed)
    content = gzip.compress(text, 1, mtime=0) if is_gzip_name(path.name) else text
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:-_LOST] if delivery.damaged else content)
        if feed.companion is not None:
            line = _checksum_line(content, feed.companion, path.name)
            Path(path_of(str(path), feed.companion.suffix)).write_text(line, encoding="utf-8")
    except OSError as error:
        raise BackupdError(f"cannot write {path}: {error.strerror}") from error


class _Dealer:
    """Makes up deliveries, each of another name."""

    def __init__(self, feeds: Sequence[Feed], now: float) -> None:
        self._now = now
        self._feeds = feeds
        self._rng = Random("demo")  # noqa: S311 - made-up files are no secret
        self._numbers = count(1)
        deck = [feed for feed in feeds for _ in range(_TYPES[feed.file_type][1])]
        self._rng.shuffle(deck)
        self._deck = cycle(deck)

    def traffic(self, size_bytes: int) -> Delivery:
        """Return a new file of this size, of whichever customer's traffic is next."""
        feed = next(feed for feed in self._deck if feed.file_type == "traffic")
        return self._one(feed, size_bytes)

    def numbered(self) -> list[Delivery]:
        """Return files of today whose numbers go on, but for one that is missing."""
        feed = next(feed for feed in self._feeds if feed.file_type == "roaming")
        step = min(_QUARTER, self._now % _DAY / len(_NUMBERS))
        return [
            self._named(feed, number, self._now - step * (_NUMBERS[-1] - number), 15 * _KB)
            for number in _NUMBERS
        ]

    def usual(self) -> Delivery:
        """Return a new file of a usual size, of whichever feed is next."""
        return self._one(next(self._deck), int(self._rng.lognormvariate(*_USUAL)))

    def _one(self, feed: Feed, size_bytes: int) -> Delivery:
        at = self._now - self._rng.randrange(_DAYS * _DAY)
        return self._named(feed, next(self._numbers), at, size_bytes)

    def _named(self, feed: Feed, number: int, at: float, size_bytes: int) -> Delivery:
        template, _ = _TYPES[feed.file_type]
        name = strftime(template.format(customer=feed.customer, number=number), gmtime(at))
        return Delivery(feed=feed, relative_path=name, size_bytes=size_bytes, seed=number)


def _checksum_line(content: bytes, rule: CompanionRule, name: str) -> str:
    """Return the line that `cksum`, `md5sum` or `sha256sum` would print."""
    check = checker(rule.algorithm)
    check.update(content)
    claim = check.claim()
    return f"{claim.digest} {claim.size if rule.algorithm == 'cksum' else ''} {name}\n"


_POOL = 1_000  # records made anew for a kind; a file draws its own from them

_NETWORKS = ("00101", "00102", "99901", "99970")
_APNS = ("internet", "iot.mnaas", "fleet.mnaas", "ims", "corporate.vpn")
_RADIO = ("EUTRAN", "NR", "UTRAN", "NB-IOT")
_TRUNKS = ("HOL_01", "SNG_01", "FRA_02", "ASH_01")
_PROFILES = ("M2M_EU", "M2M_WORLD", "FLEET_BASIC", "ESIM_CONSUMER")


class Kind(NamedTuple):
    """What the records of a file type look like: their columns, and how one is made up."""

    header: str
    record: Callable[[Random], str]


def _digits(rng: Random, prefix: str, length: int) -> str:
    return prefix + "".join(rng.choices("0123456789", k=length - len(prefix)))


def _imsi(rng: Random) -> str:
    return _digits(rng, rng.choice(_NETWORKS), 15)


def _msisdn(rng: Random) -> str:
    return _digits(rng, "99910", 12)


def _iccid(rng: Random) -> str:
    return _digits(rng, "8999901", 19)


def _clock(rng: Random) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}"


def _traffic(rng: Random) -> str:
    down = int(rng.lognormvariate(11, 2))
    return (
        f"{_imsi(rng)};{_msisdn(rng)};{rng.choice(_APNS)};{rng.choice(_RADIO)};"
        f"{rng.choice(_NETWORKS)};{_clock(rng)};{rng.randrange(1, 7200)};{down // 9};{down};"
        f"{rng.getrandbits(32):08X}"
    )


def _tolling(rng: Random) -> str:
    return (
        f"{_msisdn(rng)};{_msisdn(rng)};{_clock(rng)};{rng.randrange(1, 3600)};"
        f"{rng.choice(_TRUNKS)};{rng.choice(_TRUNKS)};T{rng.randrange(1, 40):02};"
        f"{rng.lognormvariate(-2, 1):.4f}"
    )


def _actives(rng: Random) -> str:
    return f"{_imsi(rng)};{_msisdn(rng)};{rng.choice(('ACTIVE', 'IDLE', 'ROAMING'))};{_clock(rng)}"


def _activations(rng: Random) -> str:
    state = rng.choices(("OK", "PENDING", "REJECTED"), (90, 8, 2))[0]
    return (
        f"{_iccid(rng)};{_imsi(rng)};{_msisdn(rng)};{rng.choice(_PROFILES)};{_clock(rng)};{state}"
    )


def _roaming(rng: Random) -> str:
    return f"{_imsi(rng)};{rng.choice(_NETWORKS)};{_clock(rng)};{rng.randrange(1, 86_400)}"


def _sim_inventory(rng: Random) -> str:
    state = rng.choice(("IN_STOCK", "SHIPPED", "INSTALLED", "RETIRED"))
    return f"{_iccid(rng)};{_imsi(rng)};{rng.choice(_PROFILES)};BOX-{rng.randrange(1, 900)};{state}"


KINDS = {
    "traffic": Kind(
        "RECORD;IMSI;MSISDN;APN;RAT;PLMN;START;SECONDS;BYTES_UP;BYTES_DOWN;CHARGING_ID", _traffic
    ),
    "tolling": Kind(
        "RECORD;CALLING;CALLED;START;SECONDS;TRUNK_IN;TRUNK_OUT;TARIFF;AMOUNT_EUR", _tolling
    ),
    "actives": Kind("RECORD;IMSI;MSISDN;STATE;LAST_SEEN", _actives),
    "activations": Kind("RECORD;ICCID;IMSI;MSISDN;PROFILE;AT;RESULT", _activations),
    "roaming": Kind("RECORD;IMSI;PLMN;START;SECONDS", _roaming),
    "sim_inventory": Kind("RECORD;ICCID;IMSI;PROFILE;BOX;STATE", _sim_inventory),
}


def records(file_type: str, header_lines: int, size_bytes: int, seed: int) -> bytes:
    """Return a file's text of about this size; the same seed gives the same text. 0: empty."""
    if not size_bytes:
        return b""
    rng = Random(seed)  # noqa: S311 - made-up records are no secret
    pool = _pool(file_type)
    number = size_bytes // (len(pool[0]) + len(";123456\n"))
    drawn = rng.choices(pool, k=number)
    lines = [KINDS[file_type].header] * header_lines
    lines += [f"{place};{record}" for place, record in enumerate(drawn, start=1)]
    return "\n".join([*lines, ""]).encode()


@cache
def _pool(file_type: str) -> list[str]:
    rng = Random(file_type)  # noqa: S311 - made-up records are no secret
    return [KINDS[file_type].record(rng) for _ in range(_POOL)]
