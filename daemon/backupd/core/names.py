"""File names: which are taken, which are refused, and how any of them is shown to people."""

from __future__ import annotations

import os
import re
import unicodedata

UNFINISHED = (".tmp", ".part", ".partial", ".filepart")
MAX_NAME_BYTES = 255  # of one part of a path, on every file system that matters
_ASIDE = ".removing"
_KEPT = ".kept-by-backupd"
_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|u\{([0-9a-f]+)\}|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_ASIDE_NAME = re.compile(rf"\.(.+)\.([0-9a-f]{{20}}){re.escape(_ASIDE)}", re.DOTALL)

# What is kept has the longer ending: it is to fit as well.
_ASIDE_ROOM = MAX_NAME_BYTES - len("..") - 20 - len(_KEPT)


def passed_over(name: str) -> bool:
    """Return whether a file of this name is hidden, unfinished or kept aside: never taken."""
    return name.startswith(".") or name.endswith((*UNFINISHED, _KEPT))


def aside_name(name: str, file_id: str) -> str:
    """Return the hidden name that a file has while it is being removed."""
    return f".{os.fsdecode(os.fsencode(name)[:_ASIDE_ROOM])}.{file_id}{_ASIDE}"


def parse_aside(aside: str) -> tuple[str, str] | None:
    """Return the name that a file had before it was moved aside, and its id in the ledger.

    None for any other name. A long name comes back shortened: see `was_shortened`.
    """
    match = _ASIDE_NAME.fullmatch(aside)
    if match is None or match[1] in {".", ".."}:
        return None
    return match[1], match[2]


def was_shortened(name: str) -> bool:
    """Return whether a name that `parse_aside` returned may be only the beginning of the name."""
    return len(os.fsencode(name)) >= _ASIDE_ROOM


def kept_name(aside: str) -> str:
    """Return the name of what was moved aside and cannot be put back: visible, and never taken."""
    return f"{aside.removeprefix('.').removesuffix(_ASIDE)}{_KEPT}"


def is_kept(name: str) -> bool:
    """Return whether a file of this name was kept aside by us, for a person to look at."""
    return name.endswith(_KEPT)


def name_before(kept: str) -> str:
    """Return the name of a backup file that was moved or kept aside, as far as it is known."""
    parsed = parse_aside(f".{kept.removesuffix(_KEPT)}{_ASIDE}" if is_kept(kept) else kept)
    return parsed[0] if parsed else kept


def refusal(relative_path: str) -> str | None:
    """Return why no file can be registered under this name; None: it can."""
    if not is_text(relative_path):
        return f"its name is not UTF-8: {escaped(relative_path)}"
    if any(unicodedata.category(char) == "Cc" for char in relative_path):
        return f"its name holds a control character: {escaped(relative_path)}"
    return None


def escaped(name: str) -> str:
    r"""Return a name as one printable line: `\n`, `\x1b`, `\u{85}`; raw bytes as `\xff`.

    Backslashes are doubled, so that two names never look alike.
    """
    if name.isprintable() and "\\" not in name:  # nearly all of them: each log line comes here
        return name
    return "".join(_shown(char) for char in name)


def is_text(name: str) -> bool:
    """Return whether a name is UTF-8."""
    return name.isascii() or not any(_is_raw_byte(char) for char in name)


def unescaped(shown: str) -> str:
    """Return the name that `escaped` shows like this."""
    return _ESCAPE.sub(_hidden, shown) if "\\" in shown else shown


def _is_raw_byte(char: str) -> bool:
    """Return whether `os.fsdecode` made this character from a byte that is not UTF-8."""
    return "\udc80" <= char <= "\udcff"


def _shown(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    if _is_raw_byte(char):
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isascii():
        return char.encode("unicode_escape").decode("ascii")
    return f"\\u{{{ord(char):x}}}"


def _hidden(match: re.Match[str]) -> str:
    byte, code, char = match.groups()
    if byte is not None:
        char = chr(int(byte, 16))
        return char if char.isascii() else chr(0xDC00 + ord(char))
    return chr(int(code, 16)) if code is not None else _CONTROLS.get(char, char)
