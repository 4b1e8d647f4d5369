"""File names: which are taken, which are refused, and how any of them is shown to people."""

from __future__ import annotations

import unicodedata

UNFINISHED = (".tmp", ".part", ".partial", ".filepart")


def passed_over(name: str) -> bool:
    """Tell whether a file of this name is hidden or still being delivered: never taken."""
    return name.startswith(".") or name.endswith(UNFINISHED)


def refusal(relative_path: str) -> str | None:
    """Return why no file can be registered under this name; None: it can."""
    if not relative_path.isascii() and any(_is_raw_byte(char) for char in relative_path):
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


def _is_raw_byte(char: str) -> bool:
    """Tell whether `os.fsdecode` made this character from a byte that is not UTF-8."""
    return "\udc80" <= char <= "\udcff"


def _shown(char: str) -> str:
    if char.isprintable() and char != "\\":
        return char
    if _is_raw_byte(char):
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isascii():
        return char.encode("unicode_escape").decode("ascii")
    return f"\\u{{{ord(char):x}}}"
