"""Carries out requests for files, and reports what became of each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from backupd.cli import render
from backupd.cli.asking import request_of_daemon
from backupd.cli.errors import FAILED, fail

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from backupd.cli.options import Places
    from backupd.control import Answer, FileRequest
    from backupd.core.records import FileRecord

_AT_ONCE = 1000  # files a request: answers come while the rest is still to be asked


def carry_out_on(
    places: Places, request: FileRequest, groups: Iterable[Sequence[FileRecord]], *, as_json: bool
) -> Counter[bool]:
    """Do it, print a line a file; return how many were done (True) and refused (False)."""
    tally: Counter[bool] = Counter()
    paths: dict[str, str | None] = {}
    for answers in request_of_daemon(places, request, _ids(groups, paths)):
        for answer in answers:
            tally[answer.done] += 1
            _print(answer, paths.pop(answer.id), as_json=as_json)
    return tally


def leave(tally: Counter[bool]) -> None:
    """End the program as failed where a file was refused."""
    if tally[False]:
        fail(f"{tally[False]:,} of {tally.total():,} files refused", FAILED)


def _ids(
    groups: Iterable[Sequence[FileRecord]], paths: dict[str, str | None]
) -> Iterator[list[str]]:
    """Yield the ids, some at a time; note the paths for the answers that will come."""
    for group in groups:
        for start in range(0, len(group), _AT_ONCE):
            some = group[start : start + _AT_ONCE]
            paths.update((file.id, render.name_json(file.path)) for file in some)
            yield [file.id for file in some]


def _print(answer: Answer, path: str | None, *, as_json: bool) -> None:
    if as_json:
        line = {"id": answer.id, "path": path, "done": answer.done, "text": answer.text}
        render.emit_json(line)
    if not answer.done:
        render.item(render.console(stderr=True), answer.path, answer.text)
    elif not as_json:
        render.item(render.console(), answer.path, answer.text)
