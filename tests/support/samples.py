"""A fair sample of tests with many variants."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pytest

HADOOP = os.environ.get("HADOOP") == "sample"  # and not all tests on real Hadoop


def sampled(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """Return all tests, with two variants each, or as many as their marker `sample` says.

    Which ones depends on the test's name alone: the same everywhere, and each server and parameter
    gets its share. They are half of all variants apart, so that they differ in what varies last.
    """
    variants: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        variants[item.nodeid.partition("[")[0]].append(item)
    return [each for name, some in variants.items() for each in _some(name, some)]


def _some(name: str, variants: Sequence[pytest.Item]) -> Iterator[pytest.Item]:
    number = len(variants)
    first = zlib.crc32(name.encode()) % number
    chosen = (first, (first + number // 2) % number)[: _wanted(variants[0])]
    for index in sorted(set(chosen)):
        yield variants[index]


def _wanted(item: pytest.Item) -> int:
    marker = item.get_closest_marker("sample")
    return int(marker.args[0]) if marker else 2
