"""A fair sample of tests that run on several kinds of servers: each on one of them."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import pytest


def sampled(items: Iterable[pytest.Item], servers: Collection[str]) -> list[pytest.Item]:
    """Return all tests that are not for several `servers`, and one variant of each that is.

    A server is known by the first word of a parameter's value. Which variant it is depends on the
    test's name alone: the same everywhere, and each server gets its share.
    """
    variants: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        variants[_name_without_server(item, servers)].append(item)
    return [some[zlib.crc32(name.encode()) % len(some)] for name, some in variants.items()]


def _name_without_server(item: pytest.Item, servers: Collection[str]) -> str:
    name = item.nodeid
    for value in _texts(item):
        if value.partition(" ")[0] in servers:
            name = name.replace(value, "", 1)
    return name


def _texts(item: pytest.Item) -> Iterator[str]:
    callspec = getattr(item, "callspec", None)
    if callspec is not None:
        yield from (value for value in callspec.params.values() if isinstance(value, str))
