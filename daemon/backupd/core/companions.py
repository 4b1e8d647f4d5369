"""Companions: what the checksum file beside a data file claims, and whether the data agrees.

Formats: the lines that POSIX `cksum` and GNU `md5sum` and `sha256sum` print, those of the latter
two with `--tag` as well. POSIX.1-2017, utilities, cksum, says what `cksum` computes.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backupd.core.records import Identity

MAX_BYTES = 64 * 1024  # no companion is longer; what is, is not read whole
_SHOWN = 80  # characters of a companion's text in a message

_HEX_DIGITS = {"md5": 32, "sha256": 64}
_EXPECTED = {
    "cksum": "the line of cksum: CRC, size in bytes, optionally a name",
    "md5": "the line of md5sum: 32 hex digits, optionally a name",
    "sha256": "the line of sha256sum: 64 hex digits, optionally a name",
}
# md5sum and sha256sum start the line with a backslash where they escaped the name.
_LINES = {
    "cksum": [re.compile(r"(?P<digest>[0-9]{1,10})[ \t]+(?P<size>[0-9]{1,19})(?:[ \t].*)?")],
    **{
        name: [
            re.compile(rf"\\?(?P<digest>[0-9a-fA-F]{{{digits}}})(?:[ \t].*)?"),
            re.compile(rf"\\?{name.upper()} \(.*\) ?= ?(?P<digest>[0-9a-fA-F]{{{digits}}})"),
        ]
        for name, digits in _HEX_DIGITS.items()
    },
}


@dataclass(frozen=True, slots=True)
class Claim:
    """A checksum as its program writes it (decimal or lower-case hex), and the size, if given."""

    digest: str
    size: int | None

    def agrees(self, other: Claim) -> bool:
        """Return whether both can be true of one file."""
        sizes = {self.size, other.size} - {None}
        return self.digest == other.digest and len(sizes) < 2  # noqa: PLR2004 - two differ

    def __str__(self) -> str:
        return self.digest if self.size is None else f"{self.digest}, {self.size} bytes"


class Checker(Protocol):
    """Computes a checksum of data that comes in blocks."""

    def update(self, block: bytes) -> None:
        """Add the next block."""
        ...

    def claim(self) -> Claim:
        """Return what a companion of the data so far would have to claim."""
        ...


def path_of(data_path: str, suffix: str) -> str:
    """Return where a data file's companion stands: its last extension replaced by `suffix`."""
    return posixpath.splitext(data_path)[0] + suffix


def decode(data: bytes) -> str:
    r"""Return a companion's bytes as text; what is not UTF-8 shows as `\xNN`."""
    return data.decode("utf-8", "backslashreplace")


def parse(text: str, algorithm: str) -> Claim | None:
    """Read a companion's text: one line, of the algorithm's program; None for anything else."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) != 1:
        return None
    matches = (form.fullmatch(lines[0].strip()) for form in _LINES[algorithm])
    match = next(filter(None, matches), None)
    if match is None:
        return None
    if algorithm == "cksum":
        return Claim(str(int(match["digest"])), int(match["size"]))
    return Claim(match["digest"].lower(), None)


def unreadable(text: str, algorithm: str) -> str:
    """Say what was found instead of a claim and what is expected, for people."""
    return f"{_found(text)}; expected: {_EXPECTED[algorithm]}{_likely(text)}"


def _found(text: str) -> str:
    if not text.strip():
        return "it is empty"
    more = "…" if len(text) > _SHOWN else ""
    return f"it holds {text[:_SHOWN]!a}{more}"


def _likely(text: str) -> str:
    """Name the algorithm whose line it is."""
    fitting = [name for name in _LINES if parse(text, name)]
    return f' (it reads as companion_algorithm = "{fitting[0]}")' if fitting else ""


def disagreement_key(identity: Identity, companion_identity: Identity, text: str) -> str:
    """Return a key for this pair of data file and companion: the same key means the same pair.

    The manifest stage notes it where the content disagrees; settle compares it, to know whether
    anything changed since. 64 hex digits.
    """
    pair = repr((identity, companion_identity, text))
    return hashlib.sha256(pair.encode("utf-8", "surrogatepass")).hexdigest()


def checker(algorithm: str) -> Checker:
    """Return a new checker for `cksum`, `md5` or `sha256`."""
    return _Cksum() if algorithm == "cksum" else _Hash(algorithm)


class _Hash:
    """MD5 or SHA-256."""

    def __init__(self, algorithm: str) -> None:
        self._hash = hashlib.new(algorithm, usedforsecurity=False)
        self._size = 0

    def update(self, block: bytes) -> None:
        self._hash.update(block)
        self._size += len(block)

    def claim(self) -> Claim:
        return Claim(self._hash.hexdigest(), self._size)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Cksum:
    """The POSIX CRC, computed by zlib's.

    Both divide by the polynomial 0x04C11DB7, but zlib takes the bits of each byte from the other
    end. So every byte is mirrored on its way in and the result on its way out. zlib inverts its
    register before and after: a start value of all ones makes the register 0, as POSIX wants it,
    and the last inversion is the one that POSIX asks for.
    """

    def __init__(self) -> None:
        self._crc = 0xFFFFFFFF
        self._size = 0

    def update(self, block: bytes) -> None:
        self._crc = zlib.crc32(block.translate(_MIRRORED), self._crc)
        self._size += len(block)

    def claim(self) -> Claim:
        length = self._size.to_bytes((self._size.bit_length() + 7) // 8, "little")
        crc = zlib.crc32(length.translate(_MIRRORED), self._crc)
        mirrored = crc.to_bytes(4, "little").translate(_MIRRORED)
        return Claim(str(int.from_bytes(mirrored, "big")), self._size)
