"""Keytabs in MIT's format, byte by byte: what `ktutil` would write."""

from __future__ import annotations

import struct

VERSION = b"\x05\x02"


def keytab(*principals: str) -> bytes:
    """Return a keytab with a key of each principal."""
    return VERSION + b"".join(map(entry, principals))


def entry(principal: str) -> bytes:
    """Return a record with its length before it."""
    name, _, realm = principal.rpartition("@")
    components = name.split("/")
    record = struct.pack(">H", len(components))
    record += b"".join(_counted(text.encode()) for text in (realm, *components))
    record += struct.pack(">IIB", 1, 0, 2)  # name type, time, the key's number
    record += struct.pack(">H", 18) + _counted(b"k" * 32)  # the key
    record += struct.pack(">I", 2)  # its number again, in full
    return struct.pack(">i", len(record)) + record


def hole(size: int) -> bytes:
    """Return what a removed key of this size leaves."""
    return struct.pack(">i", -size) + bytes(size)


def _counted(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content
