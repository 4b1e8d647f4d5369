"""Finds and reads the files that keys and passwords lie in.

No message holds a file's content, nor a name that is no path: it might be the secret itself.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.mistakes import Mistake
from backupd.config.readers import BadValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILES = {"known_hosts_file": False, "identity_file": True, "password_file": True}  # secret?
_STORE = Path("/etc/credstore")  # systemd.exec(5), LoadCredential=
_LARGEST = 1024 * 1024  # bytes; anything longer is not the file that was meant
PLACE = "a file that this user alone can read, or the name of a systemd credential"


def read_secrets(
    archive: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[Mistake]
) -> dict[str, Any]:
    """Return `known_hosts_file`, `identity_file` (paths or None) and `password` (text or None).

    `archive` is the section as read. What cannot be used is a mistake, and None in the answer.
    """
    found: dict[str, Any] = {"known_hosts_file": None, "identity_file": None, "password": None}
    for name, secret in _FILES.items():
        try:
            if archive.get(name) is None:
                continue
            if name == "password_file":
                found["password"] = read_password(archive[name], environ)
            else:
                found[name], _ = read_file(archive[name], environ, secret=secret)
        except BadValueError as error:
            mistakes.append(Mistake(f"archive.{name}", str(error), PLACE))
    return found


def read_smtp_password(
    alerts: Mapping[str, Any], environ: Mapping[str, str], mistakes: list[Mistake]
) -> str | None:
    """Return the password for the mail server; None where there is none, or it is a mistake."""
    given = alerts.get("smtp_password_file")
    try:
        return None if given is None else read_password(given, environ)
    except BadValueError as error:
        mistakes.append(Mistake("alerts.smtp_password_file", str(error), PLACE))
        return None


def read_password(given: str, environ: Mapping[str, str]) -> str:
    """Return the password that the file holds. Raises BadValueError for what cannot be used."""
    return _password(read_file(given, environ, secret=True)[1])


def read_file(given: str, environ: Mapping[str, str], *, secret: bool) -> tuple[Path, bytes]:
    """Return where the file is, and what it holds. Raises BadValueError.

    One that is `secret` may not be readable by others.
    """
    path = locate(given, environ)
    try:
        with open(path, "rb", opener=without_waiting) as file:
            if secret:
                _check_mode(path, os.fstat(file.fileno()), environ)
            content = file.read(_LARGEST)
    except OSError as error:
        raise BadValueError(_unreadable(path, given, error)) from error
    if not content.strip():
        raise BadValueError("names an empty file")
    return path, content


def without_waiting(path: str, flags: int) -> int:
    """Open a file as `open` does it, but not wait for the writer of a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _unreadable(path: Path, given: str, error: OSError) -> str:
    if given.startswith("/"):
        return f"names {given}, which cannot be read: {error.strerror}"
    return f"names no credential in {path.parent} that can be read: {error.strerror}"


def locate(given: str, environ: Mapping[str, str]) -> Path:
    """Return the path of a file; a relative name is that of a systemd credential.

    A command that systemd did not start looks where the unit has its credentials from.
    """
    if given.startswith("/"):
        return Path(given)
    if "/" in given or given == "..":
        raise BadValueError("is neither an absolute path nor the name of a credential")
    directory = environ.get("CREDENTIALS_DIRECTORY")
    return Path(directory, given) if directory else _STORE / f"backupd.{given}"


def _check_mode(path: Path, found: os.stat_result, environ: Mapping[str, str]) -> None:
    forbidden = stat.S_IRWXG | stat.S_IRWXO
    if environ.get("CREDENTIALS_DIRECTORY") == str(path.parent):
        # systemd lets the service's user in by an ACL, whose mask shows as the group's bits.
        forbidden = stat.S_IRWXO
    if found.st_mode & forbidden:
        mode = stat.filemode(found.st_mode)
        fix = f"chmod 600 {shlex.quote(str(path))}"
        raise BadValueError(f"names {path}, which others can read ({mode}): run {fix}")


def _password(content: bytes) -> str:
    """Return the one line that the file holds."""
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadValueError("names a file that is not UTF-8 text") from error
    if len(lines) != 1:
        raise BadValueError("names a file of more than one line")
    return lines[0]
