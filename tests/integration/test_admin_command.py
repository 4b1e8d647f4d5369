"""`backupd-admin` as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backupd.cli.admin import COMMANDS
from support.admin import admin
from support.stories import Maker, prepare, write_config

PROGRAM = str(Path(sys.executable).with_name("backupd-admin"))
HEAVY = ("asyncssh", "pyarrow", "rich", "sqlalchemy", "structlog")


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environ,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path)

    async def see(maker: Maker) -> None:
        await maker.seen("a_1.csv")

    prepare(path, see)
    return path


def test_help_lists_every_command_and_imports_nothing_that_is_slow() -> None:
    code = "import sys, backupd.cli.admin as a; a.main(['--help'], standalone_mode=False)"
    loaded = f"{code}; print('loaded:', [m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=True
    )
    assert "loaded: []" in answer.stdout
    assert all(f"\n  {name} " in answer.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name: str, tmp_path: Path) -> None:
    answer = admin(tmp_path / "none.toml", name, "--help")
    assert answer.exit_code == 0
    assert f"  backupd-admin {name}" in answer.stdout
    assert "--json" in answer.stdout


def test_the_config_is_found_by_the_environment(config: Path) -> None:
    answer = run("list", "--json", BACKUPD_CONFIG=str(config))
    assert answer.returncode == 0
    assert '"file_name": "a_1.csv"' in answer.stdout


def test_exit_codes_tell_refusal_from_wrong_usage(config: Path) -> None:
    assert run("--config", str(config), "show", "none").returncode == 1
    assert run("--config", str(config), "nonsense").returncode == 2
    assert run("--config", str(config.parent / "none"), "status").returncode == 2


def test_a_reader_that_goes_away_causes_no_noise(config: Path) -> None:
    command = f"'{PROGRAM}' --config '{config}' show a_1.csv | true"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("backupd-admin req", ["requeue"]),
        ("backupd-admin re", ["report", "requeue", "release", "reconcile"]),
        ("backupd-admin list --feed tr", ["traffic", "traffic/a", "traffic/b"]),
        ("backupd-admin requeue --from m", ["manifest", "merge"]),
        ("backupd-admin list --status p", ["parked"]),
    ],
)
def test_a_shell_completes_commands_feeds_and_stages(
    config: Path, words: str, expected: list[str]
) -> None:
    count = str(len(words.split()) - 1)
    answer = run(
        _BACKUPD_ADMIN_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=count,
        BACKUPD_CONFIG=str(config),
    )
    assert [line.partition(",")[2] for line in answer.stdout.splitlines()] == expected


def test_a_ledger_that_may_not_be_read_is_a_sentence(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(config.parent / "ledger.db"))

    monkeypatch.setattr("backupd.ledger.LedgerReader", refuse)
    answer = admin(config, "list")
    assert answer.exit_code == 1
    assert "ledger.db' (run it as root" in answer.stderr
