"""`backupd check --new-place`: a person says that the places of the config are the right ones."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from backupd.archive import open_archive
from backupd.cli.asking import record_place
from backupd.cli.errors import FAILED, fail
from backupd.cli.probes import known_marks
from backupd.core.dependencies import Dependency
from backupd.core.errors import BackupdError
from backupd.warehouse.embedded.roots import look, marked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backupd.config.sections import Config
    from backupd.core.ports import Probe

_QUESTION = "Are these the right places, although the ledger does not know them so?"


@dataclass(frozen=True, slots=True)
class _Place:
    name: str  # archive | warehouse
    where: str
    mark: str | None  # that the ledger knows
    found: Probe

    @property
    def is_known(self) -> bool:
        return self.mark is not None and self.found.ok

    def __str__(self) -> str:
        if self.mark is None:
            return f"{self.name} {self.where}: this ledger knows no mark of it; {self.found.detail}"
        return f"{self.name} {self.where}: {self.found.detail}"


def take_over(config: Config, *, agreed: bool) -> None:
    """Mark the places that the config names, and have the ledger know them by their marks.

    Asks first, unless it is `agreed`. Ends the program with 1 where a person does not want it, a
    place cannot be marked, or there is no ledger yet: with it, the first use marks the places.
    """
    try:
        places = asyncio.run(_places(config))
    except BackupdError as error:
        fail(error, FAILED)
    click.echo("\n".join(map(str, places)))
    strange = [place for place in places if not place.is_known]
    if not strange:
        click.echo("nothing to do: the ledger knows these places")
    elif agreed or click.confirm(_QUESTION):
        _record_all(config, strange)
    else:
        fail("nothing was changed", FAILED)


async def _places(config: Config) -> list[_Place]:
    marks = known_marks(config.ledger.path)
    archive = config.archive.where
    places = [
        _Place(
            Dependency.ARCHIVE, archive, marks[Dependency.ARCHIVE], await _archive(config, marks)
        )
    ]
    if config.warehouse.kind == "embedded":
        root = str(config.warehouse.embedded_root)
        found = look(config.warehouse.embedded_root, marks[Dependency.WAREHOUSE])
        places.append(_Place(Dependency.WAREHOUSE, root, marks[Dependency.WAREHOUSE], found))
    return places


async def _archive(config: Config, marks: dict[str, str | None]) -> Probe:
    archive = open_archive(config.archive)
    try:
        return (await archive.probe((), marks[Dependency.ARCHIVE]))[-1]
    finally:
        await archive.aclose()


def _record_all(config: Config, places: Sequence[_Place]) -> None:
    for place in places:
        try:
            mark = asyncio.run(_marked(config, place.name))
            record_place(config.ledger.path, config.control.socket, place.name, mark)
        except BackupdError as error:
            fail(error, FAILED)
        click.echo(f"{place.name} {place.where}: marked, and the ledger knows it")


async def _marked(config: Config, name: str) -> str:
    if name == Dependency.WAREHOUSE:
        return marked(config.warehouse.embedded_root)
    archive = open_archive(config.archive)
    try:
        return await archive.mark()
    finally:
        await archive.aclose()
