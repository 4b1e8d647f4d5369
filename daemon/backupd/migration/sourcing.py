"""Has bash read a properties file, confined, and takes down what its variables hold then."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError
from backupd.migration import confinement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = 'exec 3>&1 >/dev/null; source "$1"; builtin declare -p >&3'
LONGEST = 60  # seconds

_COMPLAINT = re.compile(r"(/[^:\n]*): line (\d+): (?:.*: )?([^:\n]*)")
_KNOWN = {os.strerror(number) for number in errno.errorcode} | {
    "command not found",
    "unbound variable",
    "readonly variable",
    "bad substitution",
}
_BY_HAND = (
    "make the dump yourself, with bash -c 'source FILE >/dev/null; declare -p' > dump, which runs"
    " FILE unconfined, and give that without --source"
)


class SourcingError(BackupdError):
    """A properties file could not be read by bash, or not confined."""


def command(file: Path) -> str:
    """Return what `dump` runs, and how it is confined, for people."""
    return (
        f"bash --noprofile --norc -c '{SCRIPT}' import-job {_shown(str(file))}\n"
        "  as this user, without network or sockets, on read-only mounts, without capabilities, for"
        f" {LONGEST} s at most"
    )


def dump(file: Path) -> tuple[bytes, list[str]]:
    """Return what `declare -p` prints after `source FILE`, and what bash complained of.

    A complaint says where and, if it can be said without repeating what may be a secret, why.
    Raises SourcingError, without having run the file, where it cannot be confined.
    """
    try:
        with file.open("rb"):
            pass
        ended = subprocess.run(  # noqa: S603 - its own program; the file's name is an argument
            [sys.executable, "-P", "-m", confinement.__name__, SCRIPT, str(file)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST,
            start_new_session=True,
            check=False,
        )
    except OSError as error:
        raise SourcingError(f"cannot read {file}: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise SourcingError(f"{file} was not read within {LONGEST} s: given up") from None
    said = ended.stderr.decode("utf-8", "replace")
    if ended.returncode == confinement.NOT_CONFINED and said.startswith(confinement.WHY):
        problem = f"bash cannot be confined on this host, so {file} was not run"
        why = said.removeprefix(confinement.WHY).strip()
        raise SourcingError(f"{problem} ({why})", hint=_BY_HAND)
    if not ended.stdout:
        raise SourcingError(
            f"{file} ends the shell before its variables can be read: exit, or an error",
            hint="; ".join(_complaints(said)),
        )
    return ended.stdout, list(_complaints(said))


def _complaints(said: str) -> Iterator[str]:
    others = 0
    for line in said.splitlines():
        if found := _COMPLAINT.fullmatch(line):
            why = found[3] if found[3] in _KNOWN else "an error, not repeated here"
            yield f"{_shown(found[1])} line {found[2]}: {why}"
        else:
            others += 1
    if others:
        yield f"{others} more lines on standard error, not repeated here"


def _shown(path: str) -> str:
    return path if path.isprintable() and " " not in path else repr(path)
