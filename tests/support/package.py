"""The Debian package that `make deb` built, and others made out of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_CHECKOUT = Path(__file__).parents[2]


def built(version: str) -> Path:
    """Return the package of this version; the test fails where `make deb` did not build it yet."""
    places = list((_CHECKOUT / "dist").glob(f"backupd_{version}_*.deb"))
    assert places, "there is no package in dist: make deb"
    return places[0]


class Unpacked:
    """A package's content, out of which packages with other versions are made."""

    def __init__(self, package: Path, place: Path) -> None:
        """`place` is a directory that is not there yet."""
        self._place = place
        subprocess.run(["dpkg-deb", "--raw-extract", package, place], check=True)

    def pack(self, package: Path, version: str, also: str | None = None) -> None:
        """Make a package of this version; `also` is an absolute path, of an empty file in it."""
        control = self._place / "DEBIAN/control"
        lines = control.read_text().splitlines(keepends=True)
        told = [f"Version: {version}\n" if line.startswith("Version:") else line for line in lines]
        control.write_text("".join(told))
        extra = self._place / also.removeprefix("/") if also else None
        if extra:
            extra.parent.mkdir(parents=True, exist_ok=True)
            extra.touch()
        options = ["--root-owner-group", "-Znone"]
        subprocess.run(["dpkg-deb", *options, "--build", self._place, package], check=True)
        if extra:
            extra.unlink()
