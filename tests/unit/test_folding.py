"""A done file's events and receipt in few bytes, and back."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from backupd.core.records import Event, VerifiedBy
from backupd.core.stages import Stage, Status
from backupd.ledger.folding import fold, unfold
from support.done_files import a_receipt, a_story

STORY = a_story()
FILE = STORY.file.id

times = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e9, 4e9)
texts = st.text(st.characters(exclude_categories=["Cs"]))
happened = st.builds(
    Event,
    file_id=st.just(FILE),
    at=times,
    stage=st.sampled_from(Stage),
    status=st.sampled_from(Status),
    detail=texts,
)
sums = st.sampled_from(["ab" * 32, "cd" * 32, "AB" * 32, "", "x"])
proofs = st.builds(
    replace,
    st.just(a_receipt(STORY.file)),
    archive_name=texts,
    sha256=sums,
    sent_sha256=sums,
    remote_sha256=sums,
    sent_bytes=st.integers(0, 2**63),
    verified_by=st.sampled_from(VerifiedBy),
    flushed=st.booleans(),
    shipped_at=times,
    verified_at=times,
    named_by=texts,
)


@given(events=st.lists(happened), receipt=st.none() | proofs)
def test_all_comes_back_as_it_was(events: list[Event], receipt: object) -> None:
    body = fold(events, receipt)  # type: ignore[arg-type]  # a receipt, or none
    assert unfold(FILE, body) == (events, receipt)


def test_a_body_of_an_earlier_version_is_still_read() -> None:
    body = bytes.fromhex(WRITTEN)
    assert unfold(FILE, body) == (list(STORY.events), STORY.receipt)


# By the first version that folded: it stays.
WRITTEN = (
    "020000000000000000000000000000000000000000000000000000000000000000cdcdcdcdcdcdcdcdcd"
    "cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd0e808080d8d5c2e01a80808004808080048080"
    "80048080800480808017808040c391d8c06195965f04f61824e59564e6a6d22ce521b2b4a10152b2c3f0"
    "3a284f95c1fc9bea131aa15f529498969699ac6f00026821608ac5ff106f0300"
)
