"""Finds the config file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SYSTEM_CONFIG = Path("/etc/backupd/config.toml")


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the path of the config: `--config`, $BACKUPD_CONFIG, /etc/backupd, or ./config.toml.

    The first one that is named or exists is taken, readable or not: `load` reports what is wrong.
    """
    if explicit is not None:
        return explicit
    if environ.get("BACKUPD_CONFIG"):
        return Path(environ["BACKUPD_CONFIG"])
    return SYSTEM_CONFIG if _may_be_there(SYSTEM_CONFIG) else Path("config.toml").absolute()


def _may_be_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # a directory that may not be entered: using another file would surprise
