"""The feeds: the old job's file types and customers, their patterns and directories."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.config.readers import BadValueError, path_part
from backupd.migration.draft import LeftOut, Setting, ToFillIn
from backupd.migration.layout import (
    CUSTOMER,
    expanded,
    is_there,
    local_directories,
    templated,
    way_taken,
)
from backupd.migration.site import root_of, site_of, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from backupd.migration.draft import Piece
    from backupd.migration.properties import Properties, Text
    from backupd.migration.site import Root, Site

_OTHER_PATTERN = re.compile(r"[\s/$`\\]|\{[^{}]*[,.][^{}]*\}|[?*+@!]\(")
_ALGORITHMS = {".md5": "md5", ".sha256": "sha256"}


def feeds(properties: Properties) -> tuple[Root, list[Piece]]:
    """Return the archive's root, and what became of the file types."""
    root = properties.text("archive root")
    patterns, directories = properties.array("patterns"), properties.array("directories")
    if patterns is None or directories is None:
        what = "no array has the patterns" if directories else "no array has the directories"
        return root_of(root, None), [ToFillIn("feeds", what)]
    site = site_of(properties, patterns, directories)
    at = root_of(root, site)
    if not any(site.customers.values()):
        return at, [LeftOut(patterns.name, "no variable names the customers")]
    return at, list(_sections(site, at[0]))


def _sections(site: Site, root: str) -> Iterator[Piece]:
    places = {each: _places(site, each) for each in sorted(site.patterns.items)}
    here = [path for _, paths in places.values() for path in paths.values() if is_there(path)]
    if not here:
        yield ToFillIn("feeds", "none of the directories is on this host: run it where they are")
    for file_type, (key, paths) in places.items():
        name = f"{site.patterns.name}[{file_type}]"
        there = tuple(each for each, path in paths.items() if not here or is_there(path))
        pattern = expanded(site.patterns.items[file_type])
        if not _names_a_section(file_type):
            yield LeftOut(name, "its name cannot be a file type's: it must be able to name a file")
        elif not paths:
            why = f"{site.directories.name} has no absolute path for it"
            yield LeftOut(name, why)
        elif not there:
            why = f"none of its directories is there, such as {next(iter(paths.values()))}"
            yield LeftOut(name, why)
        elif _OTHER_PATTERN.search(pattern.replace(CUSTOMER, "")):
            yield LeftOut(name, "a pattern here is one of *, ?, [...] for a file's name alone")
        else:
            yield from _section(site, file_type, key, _Customers(paths=paths, there=there), root)
            yield from _absent(file_type, paths, there)
    yield ToFillIn(
        "feeds.*.timestamp_regex and timestamp_format",
        "the properties do not say where the time stands in a name: without them file_date is the"
        " day on which the file was last changed",
    )


def _names_a_section(file_type: str) -> bool:
    try:
        path_part(file_type)
    except BadValueError:
        return False
    return True


def _absent(file_type: str, paths: Mapping[str, str], there: Sequence[str]) -> Iterator[LeftOut]:
    for customer, path in paths.items():
        if customer not in there:
            why = f"its directory is not there, {path}: make it, then add it to customers"
            yield LeftOut(f"customer {customer} of {file_type}", why)


def _places(site: Site, file_type: str) -> tuple[str, dict[str, str]]:
    """Return the key in the array of directories, and the directory of each customer."""
    found = {
        customer: local_directories(site.directories, file_type, customer, site.alias(customer))
        for customer in site.of(file_type)
    }
    ways = {customer: paths for customer, (_, paths) in found.items() if paths}
    if not ways:
        return file_type, {}
    taken = way_taken(ways.values())
    keys = {key for key, paths in found.values() if paths}
    return min(keys), {customer: paths[taken].rstrip("/") for customer, paths in ways.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Customers:
    """The customers of a type with their directories, and which of them have one here."""

    paths: Mapping[str, str]
    there: tuple[str, ...]


def _section(site: Site, file_type: str, key: str, found: _Customers, root: str) -> Iterator[Piece]:
    section = ("feeds", file_type)
    template, others = templated(found.paths)
    by_key = (f"{site.directories.name}[{key}]",)
    are_plain = not others and all(site.alias(each) == each for each in found.there)
    yield from _customers(site, section, found, are_plain=are_plain)
    yield Setting(section=section, name="directory", value=template, variables=by_key)
    yield from _by_customer(section, "directories", others, found, by_key)
    yield _pattern(site, file_type, is_shared=len(found.paths) > 1 and CUSTOMER not in template)
    yield from _archive_directory(site, file_type, found, root)
    if site.suffix:
        yield from _companion(section, site.suffix)


def _customers(
    site: Site, section: tuple[str, ...], found: _Customers, *, are_plain: bool
) -> Iterator[Piece]:
    """Yield the list that the job has, where it holds for this type and names stand in paths."""
    if site.listed and are_plain and site.are_listed(found.there):
        yield Setting(
            section=section,
            name="customers_file",
            value=site.listed.value,
            variables=(site.listed.name,),
            words="the first column, as the old job; new customers need no change here",
        )
        return
    yield Setting(
        section=section, name="customers", value=list(found.there), variables=site.named_by
    )
    if site.listed:
        key = f"{'.'.join(section)}.customers"
        why = (
            f"{key} has those of now: in the file are others too, or what they are called in paths"
        )
        yield LeftOut(site.listed.name, why)


def _by_customer(
    section: tuple[str, ...],
    name: str,
    others: Mapping[str, str],
    found: _Customers,
    variables: tuple[str, ...],
) -> Iterator[Setting]:
    if value := {each: others[each] for each in found.there if each in others}:
        yield Setting(section=section, name=name, value=value, variables=variables)


def _pattern(site: Site, file_type: str, *, is_shared: bool) -> Setting:
    pattern = expanded(site.patterns.items[file_type])
    words = ""
    if is_shared and CUSTOMER not in pattern:
        pattern, words = f"{CUSTOMER}_{pattern}", "with the customer, as all have one directory"
    return Setting(
        section=("feeds", file_type),
        name="pattern",
        value=pattern,
        variables=(f"{site.patterns.name}[{file_type}]",),
        words=words,
    )


def _archive_directory(site: Site, file_type: str, found: _Customers, root: str) -> Iterator[Piece]:
    targets = {customer: target_of(site, file_type, customer) for customer in found.paths}
    variables = tuple(dict.fromkeys(name for _, names in targets.values() for name in names))
    paths = {customer: _below(path, root) for customer, (path, _) in targets.items()}
    if not all(paths.values()):
        yield LeftOut(" and ".join(variables), f"leads out of the archive's root, {root}")
        return
    template, others = templated(paths)
    words = "" if variables else "no variable names it"
    section = ("feeds", file_type)
    yield Setting(
        section=section, name="archive_directory", value=template, variables=variables, words=words
    )
    yield from _by_customer(section, "archive_directories", others, found, variables)


def _below(path: str, root: str) -> str:
    """Return a path below the root; "" for one that is not."""
    if not path.startswith("/"):
        return path.strip("/")
    inside = os.path.relpath(path, root or "/")
    return "" if inside == os.pardir or inside.startswith(f"{os.pardir}/") else inside


def _companion(section: tuple[str, ...], found: Text) -> Iterator[Piece]:
    suffix = "." + found.value.lstrip("*").lstrip(".")
    algorithm = _ALGORITHMS.get(suffix.lower(), "cksum")
    words = "true if each file has one: then a file is complete when its companion is there"
    yield Setting(section=section, name="companion_suffix", value=suffix, variables=(found.name,))
    yield Setting(
        section=section, name="companion_algorithm", value=algorithm, variables=(found.name,)
    )
    yield Setting(section=section, name="companion_required", value=False, words=words)
