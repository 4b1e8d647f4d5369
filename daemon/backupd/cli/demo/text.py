"""Text that looks like what a mediation platform writes: one record a line, semicolons between.

Invented throughout: the subscribers' numbers come from ranges that are nobody's.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

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
