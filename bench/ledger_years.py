"""Three years of a daemon, month by month: what goes on growing, and what gets slower.

The years pass in minutes (`simulated_years`), at a small share of the full rate, for which figures
are extrapolated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench import daemon
from bench.corpus import FEEDS
from bench.process import MeasuringError
from bench.report import Figure
from bench.simulated_years import FULL_RATE, MONTH, Books, Month

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.daemon import Site

_MIB, _GB = 1024 * 1024, 1e9
_COMPARED = 6  # months at either end of those in which nothing may grow any more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """How much is simulated. `keep` and `remember`: days, as in the config's defaults."""

    files_a_day: int = 30
    days: int = 3 * 365
    every: int = 10  # the files of so many days come together
    keep: int = 30
    remember: int = 400

    @property
    def factor(self) -> float:
        """What numbers of files are multiplied by for the full rate."""
        return FULL_RATE / self.files_a_day

    @property
    def steady(self) -> int:
        """The first month at whose beginning files leave the ledger, and are forgotten."""
        return int((self.keep + self.remember) / MONTH) + 2


_QUICK = _Scale(files_a_day=72, days=122, every=1, keep=6, remember=30)


def measure(directory: Path, *, quick: bool) -> list[Figure]:
    """Let the years pass. Raises MeasuringError where a file is lost, or is there twice."""
    scale = _QUICK if quick else _Scale()
    inbox = directory / "inbox"
    for file_type, customer in FEEDS:
        (inbox / file_type / customer).mkdir(parents=True)
    site = daemon.site(directory / "state", inbox, directory / "archive")
    _keep_for(site, scale)
    months, books = _simulated(site, inbox, scale)
    for line in _table(months):
        print(line)
    return list(_figures(scale, months, books))


def _keep_for(site: Site, scale: _Scale) -> None:
    keys = f'[ledger]\nkeep = "{scale.keep}d"\nremember = "{scale.remember}d"\n'
    site.config.write_text(site.config.read_text().replace("[ledger]\n", keys, 1))


def _simulated(site: Site, inbox: Path, scale: _Scale) -> tuple[list[Month], Books]:
    out = site.state / "years.json"
    where = [str(inbox), str(site.config), str(out)]
    what = [str(scale.files_a_day), str(scale.days), str(scale.every)]
    command = [sys.executable, "-m", "bench.simulated_years", *where, *what]
    if subprocess.run(command, check=False).returncode:
        raise MeasuringError("the years did not come to their end, see above")
    found = json.loads(out.read_text())
    return [Month(**month) for month in found["months"]], Books(**found["books"])


# -- what it shows -------------------------------------------------------------------------------


def _figures(scale: _Scale, months: Sequence[Month], books: Books) -> Iterator[Figure]:
    case = f"{scale.days} days, {scale.files_a_day:,} files a day"
    first, last = months[scale.steady - 1], months[-1]
    yield Figure(
        case=case,
        name="files",
        value=last.files_ever,
        unit="",
        note=f"each found once: {books.in_ledger:,} in the ledger, {books.in_history:,} in the"
        f" history ({books.back:,} in both), {books.duplicates:,} of them came again;"
        f" {books.rows:,} rows",
    )
    for name, of in _FLAT.items():
        yield _growth(case, name, of, months[scale.steady - 1 :])
    yield Figure(
        case=case,
        name="grows on in the ledger",
        value=_growing(first, last) / (last.number - first.number) / scale.files_a_day / MONTH,
        unit="B a file",
        note=_growing_tables(first, last),
    )
    yield Figure(
        case=case,
        name="the history, a file",
        value=last.history_bytes / (last.files_ever - last.in_ledger),
        unit="B",
    )
    yield Figure(case=case, name="look through the whole history", value=books.by_name, unit="s")
    yield Figure(case=case, name="resident at most", value=last.peak_mib, unit="MiB", at_most=200)
    yield from _at_full_rate(scale, last)


_FLAT: dict[str, Callable[[Month], float]] = {
    "files in the ledger": lambda month: month.in_ledger,
    "files remembered": lambda month: month.remembered,
    "bytes of the ledger": lambda month: month.ledger_bytes,
    "start until files are claimed": lambda month: month.restart,
    "claim of 32 files": lambda month: month.claim,
}


def _growth(case: str, name: str, of: Callable[[Month], float], steady: Sequence[Month]) -> Figure:
    """Compare the first of the months in which nothing is to grow with the last ones."""
    most = min(_COMPARED, len(steady) // 2)
    first, last = (median(map(of, some)) for some in (steady[:most], steady[-most:]))
    return Figure(
        case=case,
        name=f"{name}, growth",
        value=last / first,
        unit="x",
        at_most=1.25,
        note=f"median of months {steady[-most].number} to {steady[-1].number} by that of"
        f" {steady[0].number} to {steady[most - 1].number}",
    )


def _growing(first: Month, last: Month) -> int:
    """Return how much the tables and indexes have grown that grow on."""
    return sum(max(0, size - first.tables.get(name, 0)) for name, size in last.tables.items())


def _growing_tables(first: Month, last: Month) -> str:
    more = {name: size - first.tables.get(name, 0) for name, size in last.tables.items()}
    grown = sorted((name for name in more if more[name] > 0), key=more.__getitem__, reverse=True)
    named = ", ".join(f"{name} {more[name]:,} B" for name in grown[:_NAMED])
    return f"from month {first.number} to {last.number}: {named or 'nothing'}"


_NAMED = 5


def _at_full_rate(scale: _Scale, last: Month) -> Iterator[Figure]:
    case = f"extrapolated to {FULL_RATE:,} files a day"
    of_files = _bytes_of_files(last) + last.tables["remembered"]
    for name, amount in (("the ledger", of_files), ("the history", last.history_bytes)):
        yield Figure(
            case=case,
            name=f"{name} in the last month",
            value=amount * scale.factor / _GB,
            unit="GB",
            note=f"{amount / _MIB:.2f} MiB measured, times {scale.factor:,.0f}",
        )


def _table(months: Sequence[Month]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield "| " + " | ".join(_COLUMNS) + " |"
    yield "|--:" * len(_COLUMNS) + "|"
    for month in months:
        yield "| " + " | ".join(show(month) for show in _COLUMNS.values()) + " |"


_COLUMNS: dict[str, Callable[[Month], str]] = {
    "month": lambda month: str(month.number),
    "files ever": lambda month: f"{month.files_ever:,}",
    "in the ledger": lambda month: f"{month.in_ledger:,}",
    "remembered": lambda month: f"{month.remembered:,}",
    "ledger, MiB": lambda month: f"{month.ledger_bytes / _MIB:.1f}",
    "bytes a file in it": lambda month: f"{_bytes_of_files(month) / month.in_ledger:,.0f}",
    "history, MiB": lambda month: f"{month.history_bytes / _MIB:.1f}",
    "its files": lambda month: f"{month.history_files:,}",
    "start, ms": lambda month: f"{month.restart * 1000:.0f}",
    "claim of 32, ms": lambda month: f"{month.claim * 1000:.1f}",
    "resident at most, MiB": lambda month: f"{month.peak_mib:.0f}",
}


def _bytes_of_files(month: Month) -> int:
    """Return the bytes of all pages but those of what is remembered, and one a table or index."""
    return sum(month.tables.values()) - month.tables["remembered"] - _PAGE * len(month.tables)


_PAGE = 4096  # bytes: each table has one, though it is empty
