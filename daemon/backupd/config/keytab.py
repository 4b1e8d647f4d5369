"""Reads whose keys a keytab holds.

The format, version 0x0502, is MIT's: https://web.mit.edu/kerberos/krb5-latest/doc/formats/.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION = b"\x05\x02"


def principals(content: bytes) -> list[str]:
    """Return the principals of a keytab, each once. Raises ValueError for anything else."""
    if not content.startswith(_VERSION):
        raise ValueError("is no keytab of version 0x0502")
    try:
        return list(dict.fromkeys(_principal(entry) for entry in _entries(content)))
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError("is a keytab that is cut off or damaged") from error


def _entries(content: bytes) -> Iterator[bytes]:
    at = len(_VERSION)
    while at < len(content):
        (size,) = struct.unpack_from(">i", content, at)
        at += 4
        if size == 0:
            return  # what follows is no part of it
        if size > 0:  # a negative one is the size of a hole that a removed key left
            yield struct.unpack_from(f">{size}s", content, at)[0]
        at += abs(size)


def _principal(entry: bytes) -> str:
    (components,) = struct.unpack_from(">H", entry)
    at, texts = 2, []
    for _ in range(components + 1):  # the realm is the first
        (length,) = struct.unpack_from(">H", entry, at)
        texts.append(struct.unpack_from(f">{length}s", entry, at + 2)[0].decode())
        at += 2 + length
    realm, *name = texts
    return f"{'/'.join(name)}@{realm}"
