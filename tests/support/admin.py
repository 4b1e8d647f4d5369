"""Runs `backupd-admin` in this process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click import unstyle
from click.testing import CliRunner

from backupd.cli.admin import main

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from click.testing import Result

_TERMINAL = {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm"}


def admin(
    config_path: Path, *arguments: str, env: Mapping[str, str | None] | None = None
) -> Result:
    """What a command says and how it exits."""
    named = ["--config", str(config_path), *arguments]
    return CliRunner().invoke(main, named, env=env, catch_exceptions=False)


def asked(config_path: Path, *arguments: str) -> dict[str, Any]:
    """The one object that a command gives with --json."""
    answer: dict[str, Any] = json.loads(admin(config_path, *arguments, "--json").stdout)
    return answer


def lines(config_path: Path, *arguments: str) -> list[dict[str, Any]]:
    """The objects that a command gives with --json, one a line."""
    answer = admin(config_path, *arguments, "--json")
    return [json.loads(line) for line in answer.stdout.splitlines()]


def screen(config_path: Path, *arguments: str) -> str:
    """What a command shows on a terminal of 80 columns, which no line may exceed."""
    shown = unstyle(admin(config_path, *arguments, env=_TERMINAL).stdout)
    assert max(map(len, shown.splitlines())) <= 80
    return shown
