"""File names that a program must bear, and what has to become of each."""

from __future__ import annotations

import gzip
import unicodedata
from typing import TYPE_CHECKING

from support.fault_site import records

if TYPE_CHECKING:
    import random

MAX_BYTES = 255
_UNFINISHED = (".tmp", ".part", ".filepart", ".partial")
_PIECES = (
    " ", "  ", "'", '"', "`", "\\", "-", "--", "-rf", "*", "?", "[a]", "{b}", "$HOME", "$(id)",
    "%s", "%00", ";", "&", "|", "<", ">", "~", "#", "!", "=", ",", ":", "@", "+", "é", "e\u0301",
    "ß", "İ", "漢字", "שלום", "\u202e", "\u200b", "\ufeff", "😀", "👩‍👩‍👧", "\u00a0", "\ufffd",
    "\U0010ffff", "file_date=1", "NULL", "..", "...", ".gz", ".GZ", ".gz.gz", ".csv", ".csv.gz",
    ".tar.gz", ".kept", "_SUCCESS", ".crc", "con", "nul", "0", "x" * 60,
)  # fmt: skip
_CONTROL = ("\n", "\r", "\t", "\x1b[31m", "\x01", "\x7f", "\u0085", "\u009b")
_RAW = (b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"caf\xe9", b"\x80")


def wild_name(rng: random.Random) -> bytes:
    """Return the last part of a path: bytes, neither empty nor with a slash, 255 at most."""
    parts = [rng.choice(_PIECES).encode() for _ in range(rng.randint(1, 6))]
    if rng.random() < 0.3:
        parts.append(bytes(rng.randrange(1, 256) for _ in range(rng.randint(1, 12))))
    if rng.random() < 0.1:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(_RAW))
    if rng.random() < 0.1:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(_CONTROL).encode())
    if rng.random() < 0.1:
        parts.append(rng.choice(_UNFINISHED).encode())
    if rng.random() < 0.15:
        parts.append(b"y" * (rng.randint(245, MAX_BYTES) - len(b"".join(parts)[:245])))
    return b"".join(parts).replace(b"/", b"_")[:MAX_BYTES]


def is_passed_over(name: bytes) -> bool:
    """Return whether it is hidden, or still being delivered: never taken, never told."""
    return name.startswith(b".") or name.endswith(tuple(map(str.encode, _UNFINISHED)))


def why_refused(path: bytes) -> str:
    """Return an expression that the reason must fit if it is to be parked; "" if it is not."""
    name = path.rpartition(b"/")[2]
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    if any(unicodedata.category(char) == "Cc" for char in text):
        return "control character"
    if len(name) + len(b".gz") * (not name.lower().endswith(b".gz")) > MAX_BYTES:
        return "longer than 255"
    return ""


def text_for(name: bytes, rng: random.Random) -> tuple[bytes, bytes, str]:
    """Return what to put under it, the text in that, and why it is refused, if it is.

    Of what is called `.gz` one in four is none.
    """
    text = records(rng, 400)
    if not name.lower().endswith(b".gz"):
        return text, text, ""
    if rng.random() < 0.25:
        return text, text, "does not decompress"
    return gzip.compress(text, mtime=0), text, ""
