from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from backupd.config import ConfigMistakes, Mistake, load
from backupd.config.sections import LocalArchiveSection, SftpArchiveSection

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.config.sections import Config


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Hold a feed directory, a password, a key and the known hosts, all as they should be."""
    (tmp_path / "in").mkdir()
    for name, content, mode in (
        ("password", b"hunter2\n", 0o600),
        ("key", b"PRIVATE KEY\n", 0o400),
        ("known_hosts", b"h ssh-ed25519 AAAA\n", 0o644),
    ):
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(mode)
    return tmp_path


def loaded(home: Path, environ: dict[str, str] | None = None, **files: str) -> Config:
    path = home / "config.toml"
    lines = [
        f'ledger.url = "sqlite:///{home}/ledger.db"',
        'archive.url = "sftp://user%40x@h.example/backup%201/"',
        *(f'archive.{key} = "{value}"' for key, value in files.items()),
        'feeds.t.customers = ["a"]',
        f'feeds.t.directory = "{home}/in"',
        'feeds.t.pattern = "*.csv"',
    ]
    path.write_text("\n".join(lines))
    return load(path, environ=environ or {})


def over_sftp(
    home: Path, environ: dict[str, str] | None = None, **files: str
) -> SftpArchiveSection:
    archive = loaded(home, environ, **files).archive
    assert isinstance(archive, SftpArchiveSection)
    return archive


def mistakes(home: Path, environ: dict[str, str] | None = None, **files: str) -> list[Mistake]:
    with pytest.raises(ConfigMistakes) as raised:
        loaded(home, environ, **files)
    assert "hunter2" not in str(raised.value)
    return list(raised.value.mistakes)


def only_mistake(home: Path, **files: str) -> Mistake:
    good = {"known_hosts_file": f"{home}/known_hosts", "identity_file": f"{home}/key"}
    (only,) = mistakes(home, None, **(good | files))
    return only


def test_an_sftp_archive_with_all_its_files(home: Path) -> None:
    archive = over_sftp(
        home,
        known_hosts_file=f"{home}/known_hosts",
        identity_file=f"{home}/key",
        password_file=f"{home}/password",
    )

    assert (archive.host, archive.port) == ("h.example", 22)
    assert (archive.username, archive.root) == ("user@x", "/backup 1")
    assert archive.known_hosts_file == home / "known_hosts"
    assert archive.identity_file == home / "key"
    assert archive.password == "hunter2"


def test_what_is_left_out_of_an_sftp_archive_has_its_default(home: Path) -> None:
    archive = over_sftp(home, known_hosts_file=f"{home}/known_hosts", identity_file=f"{home}/key")

    assert (archive.compression, archive.compression_level) == ("gzip", 1)
    assert (archive.verify, archive.connections) == ("auto", 2)


def test_a_password_is_not_shown(home: Path) -> None:
    config = loaded(home, known_hosts_file=f"{home}/known_hosts", password_file=f"{home}/password")

    assert isinstance(config.archive, SftpArchiveSection)
    assert config.archive.identity_file is None
    assert "hunter2" not in repr(config)


def test_sftp_needs_known_hosts_and_a_way_to_log_in(home: Path) -> None:
    keys = [each.key for each in mistakes(home)]

    assert keys == ["archive.known_hosts_file", "archive.identity_file"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
@pytest.mark.parametrize("key", ["identity_file", "password_file"])
def test_a_secret_that_others_may_touch_is_refused(home: Path, key: str, mode: int) -> None:
    secret = home / "my secret"
    secret.write_text("hunter2")
    secret.chmod(mode)

    only = only_mistake(home, **{key: str(secret)})

    assert only.key == f"archive.{key}"
    assert only.problem.endswith(f"run chmod 600 '{secret}'")


@pytest.mark.parametrize("key", ["identity_file", "password_file", "known_hosts_file"])
def test_a_file_that_cannot_be_read_is_named(home: Path, key: str) -> None:
    (home / "loop").symlink_to("loop")
    reasons = {"gone": "No such file", "in": "Is a directory", "loop": "Too many levels"}

    for name, why in reasons.items():
        only = only_mistake(home, **{key: f"{home}/{name}"})

        assert only.key == f"archive.{key}"
        if key == "known_hosts_file" or name != "in":
            assert f"names {home}/{name}, which cannot be read: {why}" in only.problem


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "names an empty file"),
        (b"\n", "names an empty file"),
        (b"\xff", "names a file that is not UTF-8 text"),
        (b"hunter2\nhunter2\n", "names a file of more than one line"),
    ],
)
def test_a_password_file_holds_one_line(home: Path, content: bytes, problem: str) -> None:
    (home / "password").write_bytes(content)

    only = only_mistake(home, password_file=f"{home}/password")

    assert (only.key, only.problem) == ("archive.password_file", problem)


def test_a_fifo_is_not_waited_for(home: Path) -> None:
    os.mkfifo(home / "fifo", 0o600)

    assert only_mistake(home, password_file=f"{home}/fifo").problem == "names an empty file"


def test_a_relative_name_is_a_credential(home: Path) -> None:
    archive = over_sftp(
        home,
        {"CREDENTIALS_DIRECTORY": str(home)},
        known_hosts_file="known_hosts",
        identity_file="key",
        password_file="password",
    )

    assert archive.identity_file == home / "key"
    assert archive.known_hosts_file == home / "known_hosts"
    assert archive.password == "hunter2"


@pytest.mark.parametrize(("mode", "accepted"), [(0o440, True), (0o444, False)])
def test_a_credential_may_show_the_mask_of_its_acl(home: Path, mode: int, accepted: bool) -> None:
    (home / "password").chmod(mode)
    files = {"known_hosts_file": "known_hosts", "password_file": "password"}
    environ = {"CREDENTIALS_DIRECTORY": str(home)}

    if accepted:
        assert over_sftp(home, environ, **files).password == "hunter2"
    else:
        (only,) = mistakes(home, environ, **files)
        assert only.key == "archive.password_file"


@pytest.mark.parametrize(
    ("name", "credentials", "problem"),
    [
        ("hunter2", False, "names no credential in /etc/credstore that can be read"),
        ("hunter2", True, "that can be read: No such file or directory"),
        ("../hunter2", True, "is neither an absolute path nor the name of a credential"),
        ("..", True, "is neither an absolute path nor the name of a credential"),
    ],
)
def test_a_relative_name_that_is_no_credential(
    home: Path, name: str, credentials: bool, problem: str
) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(home)} if credentials else {}

    (only,) = mistakes(home, environ, known_hosts_file=f"{home}/known_hosts", password_file=name)

    assert only.key == "archive.password_file"
    assert problem in only.problem


def test_every_file_is_judged_at_once(home: Path) -> None:
    (home / "key").chmod(0o644)

    keys = [each.key for each in mistakes(home, identity_file=f"{home}/key", password_file="x")]

    assert keys == ["archive.known_hosts_file", "archive.identity_file", "archive.password_file"]


def test_a_login_that_is_not_in_use_is_not_judged(home: Path) -> None:
    path = home / "config.toml"
    loaded(home, known_hosts_file=f"{home}/known_hosts", identity_file=f"{home}/key")
    (home / "key").unlink()
    path.write_text(path.read_text().replace("sftp://user%40x@h.example", "file://"))

    archive = load(path, environ={}).archive

    assert isinstance(archive, LocalArchiveSection)
    assert archive.root == "/backup 1"
