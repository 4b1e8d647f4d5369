"""Where the old job has the files of a customer and a type, and where it copies them to.

The properties hold parts of paths, by type and by customer; how they are put together is written in
the job, which is not read. So all ways are tried, and the one whose directories are there counts.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from backupd.migration.properties import Array

CUSTOMER = "{customer}"

_SEPARATORS = ",_-.:|/ "
_UNEXPANDED = re.compile(r"\$(customer\b|\{customer\})", re.IGNORECASE)


def expanded(value: str) -> str:
    """Replace the job's own $customer, which a value in single quotes still has."""
    return _UNEXPANDED.sub(CUSTOMER, value)


def of_pair(array: Array | None, file_type: str, customer: str) -> tuple[str, str] | None:
    """Return the element for this type of this customer, with its key."""
    for separator in _SEPARATORS:
        for key in (f"{file_type}{separator}{customer}", f"{customer}{separator}{file_type}"):
            if array and key in array.items:
                return key, array.items[key]
    return None


def local_directories(
    array: Array, file_type: str, customer: str, alias: str
) -> tuple[str, Sequence[str]]:
    """Return the array's key, and where the files may lie: five ways, the longest paths first.

    `alias` is what the customer is called in paths. Where nothing absolute is said there is no way.
    """
    if pair := of_pair(array, file_type, customer):
        return pair[0], [pair[1]] * 5
    by_type, by_customer = (array.items.get(each, "") for each in (file_type, customer))
    if by_customer.startswith("/"):
        last = PurePosixPath(by_type or file_type).name
        below = [f"{by_customer}/{each}" for each in (last, file_type)]
        return customer, [*below, by_customer, by_customer, by_customer]
    by_type = expanded(by_type)
    if not by_type.startswith("/"):
        return file_type, []
    if CUSTOMER in by_type:
        return file_type, [by_type.replace(CUSTOMER, customer)] * 5
    below = [f"{by_type}/{each}" for each in (customer, alias)]
    has_type = PurePosixPath(by_type).name == file_type
    with_type = below if has_type else [f"{each}/{file_type}" for each in below]
    return file_type, [*with_type, *below, by_type]


def way_taken(ways: Iterable[Sequence[str]]) -> int:
    """Return the first way by which any directory is there, else the first: the longest paths."""
    there = (way for way, paths in enumerate(zip(*ways, strict=True)) if any(map(is_there, paths)))
    return next(there, 0)


def is_there(path: str) -> bool:
    """Return whether there is such a directory on this host."""
    return Path(path).is_dir()


def templated(paths: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return one template for the paths by customer, and what {customer} stands for in it.

    Only customers that are called otherwise than by their name are in the second. Where all have
    one path, the template is that path.
    """
    parts = {customer: path.strip("/").split("/") for customer, path in paths.items()}
    named = {
        tuple(CUSTOMER if part == customer else part for part in each)
        for customer, each in parts.items()
    }
    if len(named) == 1:
        return _joined(paths, named.pop()), {}
    shortest = min(map(len, parts.values())) - 1
    before = _common(parts.values(), shortest)
    after = _common([each[:0:-1] for each in parts.values()], shortest - before)
    middle = {customer: each[before : len(each) - after] for customer, each in parts.items()}
    first = next(iter(parts.values()))
    template = [*first[:before], CUSTOMER, *first[len(first) - after :]]
    others = {each: "/".join(part) for each, part in middle.items() if part != [each]}
    return _joined(paths, template), others


def _common(parts: Iterable[Sequence[str]], at_most: int) -> int:
    """Return how many of the first parts are alike in all."""
    alike = 0
    for column in list(zip(*parts, strict=False))[:at_most]:
        if len(set(column)) > 1:
            break
        alike += 1
    return alike


def _joined(paths: Mapping[str, str], parts: Iterable[str]) -> str:
    root = "/" if next(iter(paths.values())).startswith("/") else ""
    return root + "/".join(parts)
