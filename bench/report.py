"""What was measured: one table for people, one file for programs."""

from __future__ import annotations

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bench.machine import Machine

_HUNDRED, _TEN = 100, 10
_MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured value. With `at_least` or `at_most` it has a bar to pass."""

    case: str
    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the bar was passed; None where there is none."""
        if self.at_least is not None:
            return self.value >= self.at_least
        return None if self.at_most is None else self.value <= self.at_most

    @property
    def bar(self) -> str:
        """The bar, as the table shows it."""
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"≤ {self.at_most:g}"


def show(figures: Sequence[Figure]) -> None:
    """Print the table to stdout, and below it how the figures came about."""
    table = Table("case", "figure", title="backupd bench", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("bar", justify="right")
    table.add_column("")
    case = ""
    for each in figures:
        if each.case != case:
            table.add_section()
        value = f"{_digits(each.value)} {each.unit}"
        shown = "" if each.case == case else each.case
        table.add_row(shown, each.name, value, each.bar, _MARKS[each.passed])
        case = each.case
    console = Console(highlight=False)
    console.print(table)
    for each in figures:
        if each.note:
            console.print(f"{each.case}, {each.name}: {each.note}", soft_wrap=True)


def save(path: Path, figures: Sequence[Figure], machine: Machine, *, quick: bool) -> None:
    """Write everything as JSON."""
    result = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "quick": quick,
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load_before": machine.load_before,
            "steal": machine.steal,
        },
        "figures": [{**asdict(each), "passed": each.passed} for each in figures],
    }
    path.write_text(json.dumps(result, indent=2) + "\n")


def _digits(value: float) -> str:
    if value >= _HUNDRED:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _TEN else f"{value:.2f}"
