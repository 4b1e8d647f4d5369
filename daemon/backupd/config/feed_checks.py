"""What does not fit together between the keys of one `[feeds.<file type>]`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backupd.config.expect import check_expect
from backupd.config.feeds import ARCHIVE_KEYS, archive_directory_of
from backupd.config.globs import common_name
from backupd.config.mistakes import Mistake
from backupd.core.snapshots import OWN_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BY_CUSTOMER = ("directories", "patterns", "archive_directories")


def check_feed(key: str, given: Mapping[str, Any], values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong between the keys of one feed: `given` in the file, `values` as read."""
    for one, other in (
        ("timestamp_regex", "timestamp_format"),
        ("timestamp_format", "timestamp_regex"),
        ("companion_algorithm", "companion_suffix"),
        ("companion_required", "companion_suffix"),
        ("customers_column", "customers_file"),
    ):
        if one in given and other not in given:
            yield Mistake(f"{key}.{one}", f"is given without {other}", f"both or {other} too")
    yield from _check_customers(key, values)
    yield from _check_archive_directory(key, values)
    yield from check_expect(key, given, values)
    if "companion_suffix" in values:
        for name, pattern in _patterns(values):
            yield from _check_pattern(key, name, pattern, values["companion_suffix"])


def _check_customers(key: str, values: Mapping[str, Any]) -> Iterator[Mistake]:
    """A name that is no customer's is a slip: what stands beside it would never be used.

    Those in a file may come later.
    """
    if "customers" not in values or values.get("customers_file"):
        return
    for name in _BY_CUSTOMER:
        if unknown := values.get(name, {}).keys() - set(values["customers"]):
            problem = f"names {', '.join(sorted(unknown))}, which customers does not have"
            yield Mistake(f"{key}.{name}", problem, "names of customers")


def _patterns(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each pattern with the name of its key."""
    if "pattern" in values:
        yield "pattern", values["pattern"]
    for customer, pattern in values.get("patterns", {}).items():
        yield f"patterns.{customer}", pattern


def _check_archive_directory(key: str, values: Mapping[str, Any]) -> Iterator[Mistake]:
    """Snapshots are removed where newer ones are there: no other file is to be among them."""
    if not values.keys() >= ARCHIVE_KEYS:
        return
    targets = (archive_directory_of("", customer, values) for customer in values["customers"])
    if any(target.split("/")[0] == OWN_DIRECTORY for target in targets):
        problem = f"leads to {OWN_DIRECTORY}, where snapshots of the ledger are"
        yield Mistake(f"{key}.archive_directory", problem, "another directory of the archive")


def _check_pattern(key: str, name: str, pattern: str, suffix: str | None) -> Iterator[Mistake]:
    if common_name([pattern]) is None:
        problem = "matches no name, or only hidden ones, which are never taken"
        yield Mistake(f"{key}.{name}", problem, "a pattern that can match")
    elif suffix and common_name([pattern], [suffix]) is None:
        problem = f"is {suffix!r}, so that every file of the pattern would be a companion itself"
        yield Mistake(f"{key}.companion_suffix", problem, "another suffix than the data files have")
