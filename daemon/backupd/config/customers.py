"""Reads `customers_file`: the customers of a section, one a line, which change without the config.

A file that cannot be used leaves the last good list in force. The daemon keeps that beside the
ledger, so that it outlives a restart too.
"""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

from backupd.config.mistakes import Mistake
from backupd.config.readers import BadValueError, path_part
from backupd.config.secrets import without_waiting
from backupd.config.sections import CustomersFile
from backupd.core.records import Identity
from backupd.localfs.whole import made_directory_at, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

_LARGEST = 1024 * 1024  # bytes
_KEPT = "last-good-customers"  # the directory of the last good lists, beside the ledger
_PERMISSIONS = 0o640
_ALLOWED = "a file with a customer on each line"


def fill_in_customers(values: Mapping[str, Any], mistakes: list[Mistake]) -> list[CustomersFile]:
    """Put the customers of each `customers_file` into its section; return what was read.

    A section whose customers are not to be had loses the key, so that nothing else is judged by it.
    """
    ledger = values.get("ledger", {}).get("url")
    found = []
    for file_type, section in values.get("feeds", {}).items():
        key = f"feeds.{file_type}"
        mistakes += _check_keys(key, section)
        if section.get("customers") is None:
            section.pop("customers", None)
            if section.get("customers_file") and "customers_column" in section:
                file = _in_force(file_type, section, ledger)
                found.append(file)
                mistakes += _use(key, section, file)
    return found


def _check_keys(key: str, section: Mapping[str, Any]) -> Iterator[Mistake]:
    names, file = section.get("customers", ""), section.get("customers_file", "")
    if names is None and file is None:
        yield Mistake(f"{key}.customers", "is missing", "customers, or customers_file")
    if names and file:
        yield Mistake(f"{key}.customers_file", "stands beside customers", "one of the two")


def _use(key: str, section: dict[str, Any], file: CustomersFile) -> Iterator[Mistake]:
    if file.customers:
        section["customers"] = list(file.customers)
    else:
        yield Mistake(f"{key}.customers_file", f"names {file.path}, which {file.trouble}", _ALLOWED)


def _in_force(file_type: str, section: Mapping[str, Any], ledger: Path | None) -> CustomersFile:
    """Return what the file says, else what it said when it could be used last."""
    path, column = section["customers_file"], section["customers_column"]
    mark = mark_of(path)
    try:
        customers, trouble = customers_in(path, column), ""
    except BadValueError as error:
        customers, trouble = _kept(file_type, path, ledger) if ledger else [], str(error)
    return CustomersFile(
        file_type=file_type,
        path=path,
        customers=tuple(customers),
        trouble=trouble,
        mark=mark,
    )


def mark_of(path: Path) -> Identity | None:
    """Return what changes with the file. None: it cannot be seen."""
    try:
        return Identity.of(path.stat())
    except OSError:
        return None


def customers_in(path: Path, column: int) -> list[str]:
    """Return the customers that a file lists, each once, in its order. Raises BadValueError."""
    return _customers(_content(path), column)


def _content(path: Path) -> str:
    try:
        with open(path, "rb", opener=without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadValueError("is not a regular file")
            content = file.read(_LARGEST + 1)
            return content.decode()
    except OSError as error:
        raise BadValueError(f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadValueError("is not UTF-8 text") from error


def _customers(text: str, column: int) -> list[str]:
    """Return the customers, each once, in the file's order. Raises BadValueError."""
    if len(text) > _LARGEST:
        raise BadValueError("is too long to be a list of customers")
    if text and not text.endswith("\n"):
        raise BadValueError("ends within a line, as one that is still being written")
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    names = [
        _customer(line, column, number)
        for number, line in lines
        if line and not line.startswith("#")
    ]
    if not names:
        raise BadValueError("names no customer")
    return list(dict.fromkeys(names))


def _customer(line: str, column: int, number: int) -> str:
    fields = line.split("|")
    if len(fields) < column:
        raise BadValueError(f"has no column {column} in line {number}")
    try:
        return path_part(fields[column - 1].strip())
    except BadValueError as error:
        raise BadValueError(f"has a customer in line {number} that {error}") from error


# ------------------------------------------------------------------ the last good list


def keep_customers(ledger: Path, files: Iterable[CustomersFile]) -> None:
    """Keep the lists that could be read, beside the ledger. Raises OSError."""
    good = [each for each in files if not each.trouble]
    if not good:
        return
    with made_directory_at(os.path.realpath(ledger.parent / _KEPT)) as directory:
        for each in good:
            kept = {"path": str(each.path), "customers": each.customers}
            content = json.dumps(kept, ensure_ascii=False).encode()
            write_whole(directory, each.file_type, content, _PERMISSIONS)


def _kept(file_type: str, path: Path, ledger: Path) -> list[str]:
    """Return the last good list of this very file; none, where there is none."""
    try:
        kept = json.loads((ledger.parent / _KEPT / file_type).read_bytes())
        return [path_part(each) for each in kept["customers"]] if kept["path"] == str(path) else []
    except (OSError, ValueError, LookupError, TypeError):
        return []
