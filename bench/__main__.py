"""`python -m bench`: measure, show, write."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import (
    ROOT,
    ledger_bytes,
    ledger_million,
    ledger_years,
    report,
    throughput,
    watching,
)
from bench.machine import Machine
from bench.peers import Peers, demand_programs
from bench.process import MeasuringError
from bench.revision import check_out
from bench.throughput import Arena
from support.sshd import running_sshd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.report import Figure

CASES = ("large", "small", "watching", "ledger")
LONG = ("years",)  # takes five minutes: only when asked for


def main() -> None:
    """Measure what is asked for. Exits 0 whether or not bars were passed: the table tells."""
    wanted = _arguments()
    machine = Machine()
    try:
        demand_programs()
        with tempfile.TemporaryDirectory(prefix="backupd-bench-", dir=wanted.dir) as directory:
            figures = list(_measure(Path(directory), wanted))
    except MeasuringError as error:
        sys.exit(f"bench: {error}")
    report.show(figures)
    report.save(wanted.out, figures, machine, quick=wanted.quick)
    print(f"Written to {wanted.out}.")
    for each in machine.disturbances():
        print(f"The machine was not quiet: {each}.")


def _measure(directory: Path, wanted: argparse.Namespace) -> Iterator[Figure]:
    quick = wanted.quick
    with running_sshd(directory / "sshd") as server:
        other = check_out(wanted.against, directory / "other") if wanted.against else None
        arena = Arena(directory, Peers(server, directory), other)
        measures: dict[str, Callable[[], list[Figure]]] = {
            "large": lambda: throughput.large(arena, quick=quick),
            "small": lambda: throughput.small(arena, quick=quick),
            "watching": lambda: watching.measure(directory / "watching", quick=quick),
            "ledger": lambda: [
                *ledger_bytes.measure(directory / "bytes", quick=quick),
                *ledger_million.measure(directory / "ledger", quick=quick, whole=wanted.whole),
            ],
            "years": lambda: ledger_years.measure(directory / "years", quick=quick),
        }
        for case in wanted.only or CASES:
            print(f"{case} …", flush=True)
            yield from measures[case]()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=CASES + LONG, help="may be given again; years: long"
    )
    parser.add_argument("--quick", action="store_true", help="small amounts: does it all work?")
    parser.add_argument(
        "--whole", action="store_true", help="ledger: with 10,000,000 remembered files (minutes)"
    )
    parser.add_argument(
        "--against", metavar="REV", help="large, small: that revision of backupd takes turns, too"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "bench-result.json")
    parser.add_argument("--dir", type=Path, help="where to work (some GB; default: the system's)")
    return parser.parse_args()


main()
