"""Reads `[feeds.<file type>]`: one section becomes one feed a customer."""

from __future__ import annotations

import glob
import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from backupd.config.expect import EXPECT
from backupd.config.readers import (
    PATH,
    SWITCH,
    BadValueError,
    Key,
    Reader,
    choice,
    expect,
    integer,
    path_part,
    plain_text,
    texts,
)
from backupd.config.tables import NamedTables, Table
from backupd.core.records import CompanionRule, Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Algorithm = Literal["cksum", "md5", "sha256"]

_CUSTOMER = "{customer}"
DIRECTORY_KEYS = {"customers", "directory", "directories"}
PATTERN_KEYS = {"customers", "pattern", "patterns"}
ARCHIVE_KEYS = {"customers", "archive_directory", "archive_directories"}
_PLACEHOLDER = re.compile(r"\{\w*\}")
_SAMPLE = datetime(2023, 11, 22, 13, 14, 15, tzinfo=UTC)  # no two of its parts are alike


def _customers(value: object) -> list[str]:
    names = [path_part(name) for name in texts(value)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadValueError(f"names a customer twice: {', '.join(twice)}")
    return names


def _template(value: object) -> str:
    template = plain_text(value)
    for found in _PLACEHOLDER.findall(template):
        if found != _CUSTOMER:
            raise BadValueError(f"holds {found}, which stands for nothing")
    return template


def _directory(value: object) -> str:
    directory = _template(value)
    if not directory.startswith("/"):
        raise BadValueError("is not an absolute path")
    return str(PurePosixPath(directory))


def _pattern(value: object) -> str:
    pattern = _template(value)
    if "/" in pattern:
        raise BadValueError('holds "/", but is matched against file names alone')
    return pattern


def _archive_directory(value: object) -> str:
    if value == "":
        return ""
    directory = PurePosixPath(_template(value))
    if directory.is_absolute():
        raise BadValueError("is absolute")
    if ".." in directory.parts:
        raise BadValueError("would leave the archive's root")
    return "/".join(directory.parts)


def _below(value: object) -> str:
    """Read what stands for {customer} in a path: one part of it, or several."""
    parts = plain_text(value).split("/")
    if not all(parts) or {".", ".."} & set(parts):
        raise BadValueError(f"has {value!r}, which is not a part of a path")
    return "/".join(parts)


def _by_customer(read: Callable[[object], str]) -> Callable[[object], dict[str, str]]:
    def table(value: object) -> dict[str, str]:
        return {customer: read(each) for customer, each in expect(value, dict).items()}

    return table


def _regex(value: object) -> str:
    text = plain_text(value)
    try:
        groups = re.compile(text).groups
    except re.error as error:
        raise BadValueError(f"is not a valid regular expression: {error}") from error
    if groups != 1:
        raise BadValueError(f"has {groups} groups")
    return text


def _format(value: object) -> str:
    text = plain_text(value)
    try:
        read_back = datetime.strptime(_SAMPLE.strftime(text), text)  # noqa: DTZ007  only its date counts
    except (ValueError, re.error) as error:  # re.error: a directive that stands twice
        raise BadValueError("cannot be used to read a time") from error
    if read_back.date() != _SAMPLE.date():
        raise BadValueError("does not tell the day")
    return text


def _suffix(value: object) -> str:
    suffix = plain_text(value)
    if not suffix.startswith(".") or suffix == "." or "/" in suffix:
        raise BadValueError(f"is {suffix!r}")
    return suffix


_FEED = Table(
    """
    One section per file type, which defines one feed for each customer. {customer} stands for the
    customer's name in directory, pattern and archive_directory; `directories`,
    `archive_directories` and `patterns` have what differs by customer. No two feeds may match the
    same file.
    """,
    {
        "customers": Key(
            Reader(_customers, "a list of names, each once, that can be part of a path"),
            "Names, each once; or, in their place, the next key.",
            default=None,
        ),
        "customers_file": Key(
            PATH,
            """
            A file with a customer on each line, which is read again when it changes: no reload is
            needed. Empty lines and those that begin with # count for nothing. While it is missing,
            without a customer, or ends within a line, the last good list stays, and you are told.
            The directory of a customer in it may be missing: then that feed is unavailable.
            """,
            default=None,
            example="/etc/backupd/customers",
        ),
        "customers_column": Key(
            integer(1, 1000),
            "Which part of a line is the customer, where | separates several: {allowed}.",
            default=1,
        ),
        "directory": Key(
            Reader(_directory, "an absolute path, with {customer} where it belongs"),
            """
            Must exist, separate from what is backupd's own: it may not be inside or contain the
            directory of the ledger, of this file, of a secret, the archive or the warehouse, not
            even by a link or a bind mount. If this file is in one directory with the ledger, the
            archive or the warehouse, the feeds may be there too.
            """,
        ),
        "directories": Key(
            Reader(_by_customer(_below), "a table from customers to parts of a path"),
            """
            What {customer} stands for in directory, where it is not the customer's name:
            directories = { eLUX = "lux" }.
            """,
            default={},
        ),
        "pattern": Key(
            Reader(_pattern, "a shell pattern for file names (*, ?, [...]), with {customer}"),
            """
            A shell pattern (*, ?, [...]) for the file's name, case-sensitive. Hidden files and
            names ending in .tmp, .part, .partial or .filepart are never taken: senders write to
            such a name and rename the file when it is complete (docs/senders.md).
            """,
        ),
        "patterns": Key(
            Reader(_by_customer(_pattern), "a table from customers to shell patterns"),
            """
            The pattern of a customer whose files have other names:
            patterns = { eLUX = "lux-*.csv" }.
            """,
            default={},
        ),
        "timestamp_regex": Key(
            Reader(_regex, r"a regular expression with exactly one group, such as '_(\d{14})'"),
            """
            The time in the name, UTC: a regular expression with one group, and the strptime format
            of that group. Give both or neither; with neither, the time the file was last changed is
            used.
            """,
            default=None,
        ),
        "timestamp_format": Key(
            Reader(
                _format,
                "directives of Python's strptime with year, month and day, such as %Y%m%d%H%M%S",
            ),
            default=None,
        ),
        "header_lines": Key(
            integer(0, 1_000_000), "Lines at the start that are not records: {allowed}.", default=0
        ),
        "recursive": Key(
            SWITCH,
            "Whether sub-directories are scanned too; the archive then has them as well.",
            default=False,
        ),
        "archive_directory": Key(
            Reader(
                _archive_directory,
                "a path below the archive's root, with {customer} where it belongs",
            ),
            """
            Below the archive's root; "" is the root itself. "{customer}/<file type>" if left out.
            No two feeds may have files that would get the same name there, such as a.csv of one and
            a.csv.gz of the other.
            """,
            default=None,
        ),
        "archive_directories": Key(
            Reader(_by_customer(_below), "a table from customers to parts of a path"),
            """
            What {customer} stands for in archive_directory, where it is not the customer's name.
            """,
            default={},
        ),
        "companion_suffix": Key(
            Reader(_suffix, 'a "." and more, such as ".cksum"'),
            """
            The companion, the checksum file beside a backup file, has the same name with this in
            place of the last extension. Left out: there are no companions.
            """,
            default=None,
        ),
        "companion_algorithm": Key(
            choice(Algorithm),
            """
            What it holds: the line that "cksum" prints, or those of "md5" (md5sum) or "sha256"
            (sha256sum).
            """,
            default="cksum",
        ),
        "companion_required": Key(
            SWITCH,
            """
            true: a file is complete when its companion is there and matches. false: the companion
            is checked if it is there.
            """,
            default=True,
        ),
        "expect": EXPECT,
    },
)

FEEDS = NamedTables(
    _FEED,
    "sections [feeds.<file type>], each named like a file",
    examples={
        "traffic": {
            "customers": ["eLUX", "SKYROAM"],
            "customers_file": "/etc/backupd/customers",
            "customers_column": 1,
            "directory": "/backup1/MNAAS/Customer_CDR/{customer}/traffic",
            "directories": {},
            "pattern": "{customer}_*.csv",
            "patterns": {},
            "timestamp_regex": r"_(\d{14})",
            "timestamp_format": "%Y%m%d%H%M%S",
            "header_lines": 1,
            "recursive": False,
            "archive_directory": "{customer}/traffic",
            "archive_directories": {},
            "companion_suffix": ".cksum",
            "companion_algorithm": "cksum",
            "companion_required": True,
        },
        "actives": {
            "customers": ["eLUX", "SKYROAM"],
            "directory": "/backup1/MNAAS/Customer_CDR/{customer}/actives",
            "pattern": "{customer}_*.csv.gz",
        },
    },
    commented=frozenset({"customers_file", "customers_column"}),
)


def expand(file_type: str, values: Mapping[str, Any]) -> list[Feed]:
    """Make the feeds of one section that was read without a mistake."""
    return [_feed(file_type, customer, values) for customer in values["customers"]]


def directory_of(customer: str, values: Mapping[str, Any]) -> str:
    """Return the directory of a customer's feed; `values` has DIRECTORY_KEYS."""
    return _filled(values["directory"], customer, values["directories"])


def pattern_of(customer: str, values: Mapping[str, Any]) -> str:
    """Return a feed's pattern, in which the customer's characters stand for themselves.

    `values` has PATTERN_KEYS.
    """
    template = values["patterns"].get(customer, values["pattern"])
    return str(template.replace(_CUSTOMER, glob.escape(customer)))


def archive_directory_of(file_type: str, customer: str, values: Mapping[str, Any]) -> str:
    """Return where a feed's files go below the archive's root; `values` has ARCHIVE_KEYS."""
    given = values["archive_directory"]
    template = f"{_CUSTOMER}/{file_type}" if given is None else given
    return _filled(template, customer, values["archive_directories"])


def _filled(template: str, customer: str, others: Mapping[str, str]) -> str:
    return template.replace(_CUSTOMER, others.get(customer, customer))


def _feed(file_type: str, customer: str, values: Mapping[str, Any]) -> Feed:
    return Feed(
        file_type=file_type,
        customer=customer,
        directory=directory_of(customer, values),
        pattern=pattern_of(customer, values),
        timestamp_regex=values["timestamp_regex"],
        timestamp_format=values["timestamp_format"] or "",
        header_lines=values["header_lines"],
        recursive=values["recursive"],
        archive_directory=archive_directory_of(file_type, customer, values),
        companion=_companion(values),
    )


def _companion(values: Mapping[str, Any]) -> CompanionRule | None:
    if values["companion_suffix"] is None:
        return None
    return CompanionRule(
        suffix=values["companion_suffix"],
        algorithm=values["companion_algorithm"],
        required=values["companion_required"],
    )
