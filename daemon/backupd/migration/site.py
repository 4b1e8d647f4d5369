"""What the old job's variables say of customers, and where their copies go."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from backupd.config.customers import customers_in
from backupd.config.readers import BadValueError
from backupd.migration.layout import CUSTOMER, expanded, of_pair

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from backupd.migration.properties import Array, Properties, Text

Root = tuple[str, tuple[str, ...]]
"""A directory, and the variables that it came from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """What is said of feeds. `aliases`: what customers are called in the archive's paths."""

    patterns: Array
    directories: Array
    archive_directories: Array | None
    aliases: Array | None
    customers: Mapping[str, tuple[str, ...]]  # by type; "" for the other types
    named_by: tuple[str, ...]  # the variables that name the customers
    suffix: Text | None
    listed: Text | None  # the file that the job itself takes the customers from

    def are_listed(self, customers: Sequence[str]) -> bool:
        """Return whether that file has exactly these customers, in its first column."""
        return set(customers) == set(_in_list(self.listed))

    def of(self, file_type: str) -> tuple[str, ...]:
        """Return the customers of a type."""
        return self.customers.get(file_type) or self.customers[""]

    def alias(self, customer: str) -> str:
        """Return what a customer is called in paths."""
        return self.aliases.items.get(customer, customer) if self.aliases else customer


def site_of(properties: Properties, patterns: Array, directories: Array) -> Site:
    """Gather what is said."""
    aliases = properties.array("customers' archive directories")
    customers, named_by = _customers(properties, patterns, directories, aliases)
    return Site(
        patterns=patterns,
        directories=directories,
        archive_directories=properties.array("archive directories"),
        aliases=aliases,
        customers=customers,
        named_by=named_by,
        suffix=properties.text("companion suffix"),
        listed=properties.text("customers file"),
    )


def _customers(
    properties: Properties, patterns: Array, directories: Array, aliases: Array | None
) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Return the customers by type, "" for types without any of their own, and who names them."""
    types = patterns.items.keys()
    of_feeds = properties.array("customers of feeds")
    mapping = of_feeds.items if of_feeds else {}
    own = {each: _sorted(mapping[each].split()) for each in types if each in mapping}
    of_list = properties.array("customers")
    in_text = properties.text("customers") if of_list is None else None
    rest = {name for key, names in mapping.items() if key not in own for name in names.split()}
    rest.update(of_list.items.values() if of_list else in_text.value.split() if in_text else ())
    sources = [each.name for each in (of_feeds, of_list, in_text) if each]
    if not sources:
        rest, source = _by_the_way(properties.text("customers file"), aliases, directories, types)
        sources = [source]
    return {**own, "": _sorted(rest)}, tuple(sources)


def _by_the_way(
    listed: Text | None, aliases: Array | None, directories: Array, types: Collection[str]
) -> tuple[set[str], str]:
    """Return the customers where no variable is about them, and which one has them by the way."""
    if listed and (customers := _in_list(listed)):
        return set(customers), listed.name
    if aliases:
        return set(aliases.items), aliases.name
    return directories.items.keys() - types, directories.name


def _in_list(listed: Text | None) -> list[str]:
    try:
        return customers_in(Path(listed.value), 1) if listed else []
    except BadValueError:
        return []


def _sorted(names: Sequence[str] | set[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in names if name}, key=lambda name: (name.lower(), name)))


def root_of(found: Text | None, site: Site | None) -> Root:
    """Return the directory that all files are copied below; "" where none is absolute."""
    if found:
        return found.value.rstrip("/") or "/", (found.name,)
    if site is None:
        return "", ()
    targets = [
        target_of(site, file_type, customer)[0]
        for file_type in site.patterns.items
        for customer in site.of(file_type)
    ]
    absolute = [each for each in targets if each.startswith("/")]
    names = tuple(each.name for each in (site.archive_directories, site.aliases) if each)
    return (os.path.commonpath(absolute), names) if absolute else ("", ())


def target_of(site: Site, file_type: str, customer: str) -> tuple[str, tuple[str, ...]]:
    """Return where files of a feed are copied to, as far as it is said, and which variables say."""
    array, alias = site.archive_directories, site.alias(customer)
    by = (site.aliases.name,) if site.aliases and customer in site.aliases.items else ()
    if pair := of_pair(array, file_type, customer):
        return pair[1], (array.name,) if array else ()
    items: Mapping[str, str] = array.items if array else {}
    name = (array.name,) if array else ()
    if customer in items:
        return f"{items[customer]}/{file_type}", name
    if file_type not in items:
        return f"{alias}/{file_type}", by
    by_type = expanded(items[file_type])
    if CUSTOMER in by_type:
        return by_type.replace(CUSTOMER, alias), (*name, *by)
    if by_type.startswith("/") and not alias.startswith("/"):
        return f"{by_type}/{alias}", (*name, *by)
    last = PurePosixPath(by_type).name if by_type.startswith("/") else by_type
    return f"{alias}/{last}", (*by, *name)
