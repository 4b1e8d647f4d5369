"""Small configs for tests to change, and what loading them gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import ConfigMistakes, Mistake, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backupd.config.sections import Config

Changes = dict[str, str | None]


def write(tmp_path: Path, changes: Changes) -> Path:
    """Write a small valid config with some keys changed, added or (None) left out.

    Keys are dotted and values are TOML; `TMP` in them stands for tmp_path.
    """
    for customer in ("a", "b"):
        (tmp_path / "in" / customer).mkdir(parents=True, exist_ok=True)
    lines: Changes = {
        "ledger.url": '"sqlite:///TMP/ledger.db"',
        "archive.url": '"file://TMP/archive"',
        "feeds.traffic.customers": '["a", "b"]',
        "feeds.traffic.directory": '"TMP/in/{customer}"',
        "feeds.traffic.pattern": '"{customer}_*.csv"',
    }
    lines |= changes
    text = "\n".join(f"{key} = {value}" for key, value in lines.items() if value is not None)
    path = tmp_path / "config.toml"
    path.write_text(text.replace("TMP", str(tmp_path)))
    return path


def loaded(tmp_path: Path, changes: Changes, environ: Mapping[str, str] | None = None) -> Config:
    return load(write(tmp_path, changes), environ=environ or {})


def mistakes(
    tmp_path: Path, changes: Changes, environ: Mapping[str, str] | None = None
) -> list[Mistake]:
    with pytest.raises(ConfigMistakes) as raised:
        loaded(tmp_path, changes, environ)
    return list(raised.value.mistakes)


def feed(name: str, pattern: str, directory: str = "TMP/in/a") -> Changes:
    return {
        f"feeds.{name}.customers": '["a"]',
        f"feeds.{name}.directory": f'"{directory}"',
        f"feeds.{name}.pattern": f'"{pattern}"',
    }


def one_traffic_feed(pattern: str, **more: str) -> Changes:
    extra: Changes = {f"feeds.traffic.{key}": value for key, value in more.items()}
    return feed("traffic", pattern) | extra
