"""Fault campaigns: what each tried and found, a row each, and what is kept of one that failed."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from support.verdicts import COLUMNS, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WHOLE = os.environ.get("FAULTS") == "long"
SEED = int(os.environ.get("FAULTS_SEED", "1"))
RESULT = Path("faults-result.json")
_FIGURES = ("tries", "files", *COLUMNS)
_SHOWN = 12  # findings of a column that a failure prints; all of them are in `findings`


@dataclass(kw_only=True)
class Row:
    """One campaign in the table; `counts` has a number for each column of a verdict."""

    campaign: str
    seed: int
    tries: int = 0
    files: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    kept: str = ""  # the directory of one that failed

    def figures(self) -> list[str]:
        values = (self.tries, self.files, *(self.counts.get(each, "?") for each in COLUMNS))
        return [str(value) for value in values]


class Campaign:
    """One campaign at work: `root` is its directory, `rng` gives all that is random in it."""

    def __init__(self, name: str, test: str) -> None:
        """`name` stands in the table, `test` is what pytest's -k finds it by."""
        self.row = Row(campaign=name, seed=SEED)
        self.rng = random.Random(f"{name} {SEED}")
        self.root = Path(tempfile.mkdtemp(prefix="backupd-faults-"))
        self._test = test

    @staticmethod
    def size(sample: int, whole: int) -> int:
        """Return how many tries to make: a sample, or with FAULTS=long the whole."""
        return whole if WHOLE else sample

    def tried(self, tries: int = 1) -> None:
        self.row.tries += tries

    def ends(self, files: int, verdict: Verdict) -> None:
        """Write down what was found; AssertionError unless that is nothing."""
        self.row.files += files
        self.row.counts = verdict.counts()
        (self.root / "findings").write_text("\n".join(verdict.lines()) + "\n")
        found = "\n".join(verdict.lines(_SHOWN))
        assert not verdict.findings(), f"{found}\n{self.how_to_see_it_again()}"

    def how_to_see_it_again(self) -> str:
        long = "FAULTS=long " if WHOLE else ""
        again = f"{long}FAULTS_SEED={SEED} make test-faults ARGS='-k {self._test}'"
        return f"look at {self.root}; once more: {again}"

    def close(self, *, passed: bool) -> None:
        """Remove its directory, or keep it where there is something to look at."""
        if passed:
            shutil.rmtree(self.root)
        else:
            self.row.kept = str(self.root)


def table(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines of text, under a heading."""
    cells = [["campaign", "seed", *_FIGURES]]
    cells += [[row.campaign, str(row.seed), *row.figures()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [_line(each, widths) for each in cells]
    return lines + [f"{row.campaign}: kept in {row.kept}" for row in rows if row.kept]


def _line(cells: Iterable[str], widths: Iterable[int]) -> str:
    first, *numbers = zip(cells, widths, strict=True)
    shown = [f"{cell:>{width}}" for cell, width in numbers]
    return "  ".join([f"{first[0]:<{first[1]}}", *shown])


def write_result(rows: Sequence[Row], path: Path = RESULT) -> None:
    """Write the table as JSON: a list of objects, a campaign each."""
    objects = [
        {name: value for name, value in asdict(row).items() if name != "counts"} | row.counts
        for row in rows
    ]
    path.write_text(json.dumps(objects, indent=1) + "\n")
