r"""Reads what `declare -p` of bash prints. Nothing is run, and nothing else is accepted.

    declare -x name="text, with \", \\, \$ and \` for four characters"
    declare -- name=$'text with control characters, as \n, \t, \E or \303'
    declare -a list=([0]="one" [1]=$'two\n')
    declare -A table=([traffic]="*.csv" ["a key"]="x" )
    declare -- unset

Line breaks may stand in double quotes as they are, which bash before 5.2 prints, and arrays may
stand as one text in single quotes, as bash before 4.4 prints them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from collections.abc import Iterator

Value = str | dict[str, str]
"""What a variable holds: a text, or an array's texts by their keys, of a list "0", "1", ..."""

_NAME = re.compile(r"declare -([-aAilnrtuxc]+) ([A-Za-z_][A-Za-z0-9_]*)")
_DOUBLE = re.compile(r'"((?:[^"\\$`]|\\[\s\S])*)"')
_ANSI = re.compile(r"\$'((?:[^'\\]|\\[\s\S])*)'")
_SINGLE = re.compile(r"'[^']*'(?:\\''[^']*')*")
_BARE_KEY = re.compile(r"[^\] \t\n\"'$`\\]+")
_END = re.compile(r" *(?:\r?\n|\Z)")

_BY_DOUBLE = re.compile(r'\\([$`"\\])|\\\n')
_BY_ANSI = re.compile(
    r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|c(.)|(.))",
    re.DOTALL,
)
_LETTERS = {
    "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "n": "\n", "r": "\r", "t": "\t",
    "v": "\v", "\\": "\\", "'": "'", '"': '"', "?": "?",
}  # fmt: skip


class DumpError(BackupdError):
    """A text is no output of `declare -p`."""


def read(content: bytes) -> dict[str, Value]:
    """Return the variables that have a value, by name, in the dump's order.

    A reference (declare -n) has the value of the variable that it leads to. Bytes that are not
    UTF-8 become lone surrogates. Raises DumpError, which names the line and repeats nothing of it:
    it may hold a secret.
    """
    text = content.decode("utf-8", "surrogateescape")
    variables: dict[str, Value] = {}
    references: dict[str, str] = {}
    for flags, name, value in _declarations(text):
        if "n" in flags and isinstance(value, str):
            references[name] = value
        elif value is not None:
            variables[name] = value
    leading = {name: variables[other] for name, other in references.items() if other in variables}
    return variables | leading


def _declarations(text: str) -> Iterator[tuple[str, str, Value | None]]:
    at = 0
    while at < len(text):
        head = _NAME.match(text, at)
        if head is None:
            raise _not_understood(text, at)
        value, at = _value(text, head.end())
        end = _END.match(text, at)
        if end is None:
            raise _not_understood(text, at)
        yield head[1], head[2], value
        at = end.end()


def _value(text: str, at: int) -> tuple[Value | None, int]:
    """Return the value that begins at the "=", and where it ends; None where there is none."""
    if text[at : at + 1] != "=":
        return None, at
    if text.startswith("=(", at):
        return _array(text, at + 1)
    if text.startswith("='(", at):  # bash before 4.4
        inner, end = _quoted(text, at + 1)
        array, inner_end = _array(inner, 0)
        if inner_end != len(inner):
            raise _not_understood(text, at)
        return array, end
    return _quoted(text, at + 1)


def _array(text: str, at: int) -> tuple[dict[str, str], int]:
    items: dict[str, str] = {}
    at = _past_blanks(text, at + 1)
    while text[at : at + 1] == "[":
        key, at = _key(text, at + 1)
        if not text.startswith("]=", at):
            raise _not_understood(text, at)
        items[key], at = _quoted(text, at + 2)
        at = _past_blanks(text, at)
    if text[at : at + 1] != ")":
        raise _not_understood(text, at)
    return items, at + 1


def _key(text: str, at: int) -> tuple[str, int]:
    bare = _BARE_KEY.match(text, at)
    return (bare[0], bare.end()) if bare else _quoted(text, at)


def _quoted(text: str, at: int) -> tuple[str, int]:
    """Return the text in quotes that begins here, and where it ends."""
    if found := _DOUBLE.match(text, at):
        return _BY_DOUBLE.sub(lambda each: each[1] or "", found[1]), found.end()
    if found := _ANSI.match(text, at):
        return _of_ansi(found[1]), found.end()
    if found := _SINGLE.match(text, at):
        return found[0][1:-1].replace(r"'\''", "'"), found.end()
    raise _not_understood(text, at)


def _of_ansi(text: str) -> str:
    r"""Replace the escapes; those of bytes (\303) make up characters together."""
    parts = []
    end = 0
    for found in _BY_ANSI.finditer(text):
        parts += [_bytes(text[end : found.start()]), _of_escape(found)]
        end = found.end()
    return b"".join([*parts, _bytes(text[end:])]).decode("utf-8", "surrogateescape")


def _of_escape(found: re.Match[str]) -> bytes:
    octal, byte, short, long, control, letter = found.groups()
    if octal or byte:
        return bytes([int(octal, 8) & 0xFF if octal else int(byte, 16)])
    if short or long:
        return _bytes(chr(int(short or long, 16)))
    if control:
        return bytes([ord(control.upper()) & 0x1F])
    return _bytes(_LETTERS.get(letter, f"\\{letter}"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _past_blanks(text: str, at: int) -> int:
    while text[at : at + 1] == " ":
        at += 1
    return at


def _not_understood(text: str, at: int) -> DumpError:
    line = text.count("\n", 0, at) + 1
    return DumpError(
        f"line {line} is not what `declare -p` prints",
        hint="make the dump with: bash -c 'source FILE >/dev/null; declare -p' > dump",
    )
