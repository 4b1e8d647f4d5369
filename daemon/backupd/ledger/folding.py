"""A done file's events and receipt as few bytes, and back. Pure.

A body is: how many SHA-256 sums there are (one byte) and the sums; the times; then the rest as
JSON, deflated with a dictionary of what such files have in common. The dictionary is part of the
form: another one needs another first byte. Times are whole numbers, each the distance from the one
before, so that they come back exactly; a time that cannot be one stands in the JSON.
"""

from __future__ import annotations

import json
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from backupd.core.records import SHA256_FORM, Event, Receipt, VerifiedBy
from backupd.core.stages import Stage, Status

if TYPE_CHECKING:
    from collections.abc import Sequence

_TICKS = 2**22  # a second: from 2004 on, every float that is a time is a whole number of them
_SUM_BYTES = 32
_MORE = 128  # in a byte of a number: another one follows
_USUAL = (
    b'"remote-sha256","same-content","claim"'
    b' records, 1 record, bytes; other content than , so it is shipped as .gz"'
    b'again (try 2)"],["ship","waiting","in the archive already, found there with the same '
    b'content"verified by remote-sha256"],["cleanup","waiting","kept as configured'
    b'[[["settle","waiting","first seen"],["manifest","waiting","complete"],'
    b'["manifest","running","started"],["load","waiting","5 records, 2499 bytes"],'
    b'["load","running","started with batch 1a22ee7c"],["merge","waiting",'
    b'"staged at /var/lib/backupd/warehouse/staging/1a22ee7c"],["merge","running",'
    b'"started with batch 1a22ee7c"],["ship","waiting",'
    b'"row seen in production (batch 1a22ee7c)"],["ship","running","started"],'
    b'["cleanup","waiting","in the archive as .csv.gz, 890 bytes, verified by readback"],'
    b'["cleanup","running","started"],["cleanup","done","local copy deleted"]],'
    b'[".csv.gz",0,1,1,890,"readback","link","rename",1],{}]'
)


def fold(events: Sequence[Event], receipt: Receipt | None) -> bytes:
    """Return a body. The events are of one file, oldest first; the receipt is that file's."""
    sums: list[str] = []
    lines = [[event.stage, event.status, event.detail] for event in events]
    times, odd = _write_times(_times_of(events, receipt))
    text = json.dumps(
        [lines, receipt and _proof(receipt, sums), odd], ensure_ascii=False, separators=(",", ":")
    )
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _USUAL)
    rest = deflate.compress(text.encode()) + deflate.flush()
    return bytes([len(sums)]) + b"".join(map(bytes.fromhex, sums)) + times + rest


def unfold(file_id: str, body: bytes) -> tuple[list[Event], Receipt | None]:
    """Return what `fold` was given."""
    rest = 1 + body[0] * _SUM_BYTES
    sums = [body[at : at + _SUM_BYTES].hex() for at in range(1, rest, _SUM_BYTES)]
    times, rest = _read_times(body, rest)
    lines, proof, odd = json.loads(zlib.decompressobj(-15, _USUAL).decompress(body[rest:]))
    times |= {int(place): at for place, at in odd.items()}
    events = [
        Event(
            file_id=file_id,
            at=times[place],
            stage=Stage(stage),
            status=Status(status),
            detail=detail,
        )
        for place, (stage, status, detail) in enumerate(lines)
    ]
    if proof is None:
        return events, None
    shipped_at, verified_at = times[len(lines)], times[len(lines) + 1]
    return events, _receipt(file_id, proof, sums, shipped_at, verified_at)


def shipped_at(body: bytes) -> float:
    """Return when a file was shipped, of a body with a receipt: the last time but one.

    Only the times are read, which takes a tenth of `unfold`.
    """
    times, _ = _read_times(body, 1 + body[0] * _SUM_BYTES)
    return times[len(times) - 2]


def _times_of(events: Sequence[Event], receipt: Receipt | None) -> list[float]:
    times = [event.at for event in events]
    return times if receipt is None else [*times, receipt.shipped_at, receipt.verified_at]


def _write_times(times: Sequence[float]) -> tuple[bytes, dict[int, float]]:
    """Return how many and each one's distance from the one before; and those that have none."""
    odd = {place: at for place, at in enumerate(times) if not (at * _TICKS).is_integer()}
    ticks = [0 if place in odd else int(at * _TICKS) for place, at in enumerate(times)]
    steps = (later - earlier for earlier, later in pairwise([0, *ticks]))
    return b"".join(map(_write_number, [len(ticks), *steps])), odd


def _read_times(body: bytes, at: int) -> tuple[dict[int, float], int]:
    """Return the times by their places, and where what follows them begins."""
    number, at = _read_number(body, at)
    times, ticks = {}, 0
    for place in range(number):
        step, at = _read_number(body, at)
        ticks += step
        times[place] = ticks / _TICKS
    return times, at


def _write_number(number: int) -> bytes:
    """Return a number, seven bits a byte, the lowest first; the lowest of all is its sign."""
    rest = -2 * number - 1 if number < 0 else 2 * number
    written = bytearray()
    while rest >= _MORE:
        written.append(rest % _MORE + _MORE)
        rest //= _MORE
    return bytes([*written, rest])


def _read_number(body: bytes, at: int) -> tuple[int, int]:
    number, weight = 0, 1
    while body[at] >= _MORE:
        number += (body[at] - _MORE) * weight
        at, weight = at + 1, weight * _MORE
    number += body[at] * weight
    return (-(number + 1) // 2 if number % 2 else number // 2), at + 1


def _proof(receipt: Receipt, sums: list[str]) -> list[Any]:
    return [
        receipt.archive_name,
        *(
            _write_sum(s, sums)
            for s in (receipt.sha256, receipt.sent_sha256, receipt.remote_sha256)
        ),
        receipt.sent_bytes,
        receipt.verified_by,
        receipt.named_by,
        int(receipt.flushed),
    ]


def _receipt(
    file_id: str, proof: list[Any], sums: list[str], shipped_at: float, verified_at: float
) -> Receipt:
    name, sha256, sent, remote, size, verified_by, named_by, flushed = proof
    return Receipt(
        file_id=file_id,
        archive_name=name,
        sha256=_read_sum(sha256, sums),
        sent_sha256=_read_sum(sent, sums),
        remote_sha256=_read_sum(remote, sums),
        sent_bytes=size,
        verified_by=VerifiedBy(verified_by),
        flushed=bool(flushed),
        shipped_at=shipped_at,
        verified_at=verified_at,
        named_by=named_by,
    )


def _write_sum(text: str, sums: list[str]) -> int | str:
    """Return the place of a sum among those before the text; what is no sum stays as it is."""
    if not SHA256_FORM.fullmatch(text):
        return text
    if text not in sums:
        sums.append(text)
    return sums.index(text)


def _read_sum(written: int | str, sums: list[str]) -> str:
    return sums[written] if isinstance(written, int) else written
