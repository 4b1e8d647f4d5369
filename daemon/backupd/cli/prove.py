"""`backupd-admin prove`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from backupd.cli import render
from backupd.cli.errors import FAILED, fail
from backupd.cli.options import Places, json_option, pass_places
from backupd.cli.past import Known, known
from backupd.cli.times import iso, moment
from backupd.core.names import escaped
from backupd.core.records import VerifiedBy
from backupd.core.stages import Stage, Status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from backupd.core.records import Event, FileRecord, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What the ledger holds for a file's deletion. `first` is the file itself, or its original."""

    file: FileRecord
    first: FileRecord
    receipt: Receipt | None
    cleanup: Event | None  # the last thing that cleanup finished

    def gaps(self) -> Iterator[str]:
        """Yield what is missing to a proof."""
        if self.file.is_closed:
            yield f"it was closed without one: {self.file.reason}"
        if self.receipt is None:
            yield f"there is no receipt: {_standing(self.first)}"
        else:
            yield from self.receipt.flaws(self.file.sha256)
        if self.first.row_seen_at is None:
            yield f"its row was not seen in the warehouse: {_standing(self.first)}"


@click.command(
    epilog="""\
\b
Examples:
  backupd-admin prove eLUX_HOL_01_20261123081500_000042.csv
  backupd-admin prove --json 0198f2c1a7b4d9e8f7a6 | jq -r .remote_sha256
"""
)
@click.argument("file", metavar="FILE")
@json_option
@pass_places
def prove(places: Places, *, file: str, as_json: bool) -> None:
    """Show the proof on which a file's local copy may be (or was) deleted.

    The hashes of what was read here, of what was sent and of what the archive holds, how the last
    was got, and when the file's row was seen in the warehouse. A duplicate leans on the proof of
    the first file of its content. Exit 1, with the reason, where there is none.
    """
    with places.reader() as reader:
        proof = _proof(known(places, reader, file))
    gaps = list(proof.gaps())
    if as_json:
        render.emit_json(_as_json(proof, gaps))
    else:
        render.show(render.title(escaped(proof.file.file_name)), render.facts(list(_facts(proof))))
    if gaps:
        fail(f"no proof for {proof.file.id}: {'; '.join(gaps)}", FAILED)


def _proof(found: Known) -> Proof:
    return Proof(
        file=found.file,
        first=found.original or found.file,
        receipt=found.receipt,
        cleanup=_last_cleanup(found.file, found.events),
    )


def _last_cleanup(file: FileRecord, events: Sequence[Event]) -> Event | None:
    finished = [
        event
        for event in events
        if (event.stage, event.status) == (Stage.CLEANUP, Status.DONE)
        and event.detail != file.reason  # it was closed: cleanup did nothing
    ]
    return finished[-1] if finished else None


def _standing(file: FileRecord) -> str:
    closed = f" ({file.reason})" if file.is_closed else ""
    return f"{file.id} is {file.status} at {file.stage}{closed}"


def _as_json(proof: Proof, gaps: Sequence[str]) -> dict[str, Any]:
    file, cleanup = proof.file, proof.cleanup
    receipt = render.receipt_json(proof.receipt) if proof.receipt else {}
    return {
        "id": file.id,
        "path": render.name_json(file.path),
        "proven": not gaps,
        "missing": list(gaps),
        "duplicate_of": file.duplicate_of,
        "local_sha256": file.sha256,
        "size_bytes": file.size_bytes,
        **{name: receipt.get(name) for name in _RECEIPT},
        "row_seen_at": iso(proof.first.row_seen_at),
        "cleanup_at": iso(cleanup.at) if cleanup else None,
        "cleanup": cleanup.detail if cleanup else None,
    }


_RECEIPT = (
    "archive_name",
    "sent_sha256",
    "sent_bytes",
    "remote_sha256",
    "verified_by",
    "flushed",
    "named_by",
    "shipped_at",
    "verified_at",
)


def _facts(proof: Proof) -> Iterator[tuple[str, RenderableType]]:
    file, first = proof.file, proof.first
    yield "id", file.id
    yield "path", escaped(file.path)
    if first.id != file.id:
        yield "duplicate of", f"{first.id}, whose proof this is"
    yield "sha256 here", file.sha256 or "-"
    if proof.receipt is not None:
        yield from _receipt_facts(proof.receipt)
    yield "row seen", moment(first.row_seen_at)
    if proof.cleanup is not None:
        yield "local copy", f"{proof.cleanup.detail}, {moment(proof.cleanup.at)}"
    else:
        yield "local copy", "not deleted by backupd"


def _receipt_facts(receipt: Receipt) -> Iterator[tuple[str, RenderableType]]:
    was_found = receipt.verified_by is VerifiedBy.SAME_CONTENT
    yield "sha256 to send" if was_found else "sha256 sent", receipt.sent_sha256
    yield "sha256 there", receipt.remote_sha256
    yield "how", receipt.evidence
    yield "archive", f"{escaped(receipt.archive_name)}, {receipt.sent_bytes:,} bytes"
    yield "on its disk", "confirmed" if receipt.flushed else "not confirmed by the archive"
    yield "named by", receipt.named_by or "unknown"
    yield "shipped", moment(receipt.shipped_at)
    yield "verified", moment(receipt.verified_at)
