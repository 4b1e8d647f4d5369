from __future__ import annotations

from pathlib import Path

import pytest

from backupd.config import find, loader


@pytest.fixture(autouse=True)
def system_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "etc" / "config.toml"
    monkeypatch.setattr(loader, "SYSTEM_CONFIG", path)
    return path


def test_the_option_goes_before_all() -> None:
    chosen = find(Path("mine.toml"), {"BACKUPD_CONFIG": "/other.toml"})

    assert chosen == Path("mine.toml")


def test_the_variable_goes_before_the_system() -> None:
    assert find(None, {"BACKUPD_CONFIG": "/other.toml"}) == Path("/other.toml")


@pytest.mark.parametrize("environ", [{}, {"BACKUPD_CONFIG": ""}])
def test_the_system_goes_before_the_working_directory(
    system_config: Path, environ: dict[str, str]
) -> None:
    system_config.parent.mkdir()
    system_config.touch()

    assert find(None, environ) == system_config


def test_the_working_directory_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert find(None, {}) == tmp_path / "config.toml"


def test_a_system_config_that_may_not_be_looked_for_is_not_passed_over(
    system_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr(Path, "exists", refuse)

    assert find(None, {}) == system_config
