"""[alerts], [status_file] and [metrics] in the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import write_paths
from support.configs import loaded, mistakes

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes

MAIL: Changes = {
    "alerts.smtp_url": '"smtp://mail.example"',
    "alerts.from": '"mnaas@example"',
    "alerts.to": '["support@example", "support@example"]',
}


def test_left_out_nobody_is_told(tmp_path: Path) -> None:
    assert loaded(tmp_path, {}).alerts is None


def test_it_is_read_with_its_defaults(tmp_path: Path) -> None:
    alerts = loaded(tmp_path, dict(MAIL)).alerts
    assert alerts is not None
    assert (alerts.after, alerts.remind_every) == (600.0, 86_400.0)
    assert alerts.smtp is not None
    assert (alerts.smtp.host, alerts.smtp.port, alerts.smtp.tls) == ("mail.example", 25, False)
    assert (alerts.to, alerts.ticket_to, alerts.hook) == (("support@example",), (), None)


def test_a_login_takes_its_password_from_a_file_and_does_not_show_it(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    login: Changes = {
        "alerts.smtp_url": '"smtps://mna%40as@mail.example"',
        "alerts.smtp_password_file": f'"{secret}"',
    }
    config = loaded(tmp_path, MAIL | login)
    assert config.alerts is not None
    assert config.alerts.smtp is not None
    smtp = config.alerts.smtp
    assert (smtp.port, smtp.tls, smtp.username, smtp.password) == (465, True, "mna@as", "hunter2")
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"alerts.smtp_url": None}, "alerts.smtp_url", "is missing, and alerts.to needs it"),
        ({"alerts.from": None}, "alerts.from", "is missing, and mail needs it"),
        ({"alerts.to": '["a@b, c@d"]'}, "alerts.to", "is not a valid mail address"),
        ({"alerts.to": '["Me <a@b>"]'}, "alerts.to", "is not a valid mail address"),
        ({"alerts.from": '"nobody"'}, "alerts.from", "is not a valid mail address"),
        ({"alerts.smtp_url": '"smtp://h/path"'}, "alerts.smtp_url", "holds more than"),
        (
            {"alerts.smtp_url": '"smtp://u@mail"'},
            "alerts.smtp_password_file",
            "is missing, and the user in alerts.smtp_url needs it",
        ),
        ({"alerts.hook": '"TMP/none"'}, "alerts.hook", "is not a program that this user can run"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: Changes, key: str, problem: str) -> None:
    (found,) = mistakes(tmp_path, MAIL | changes)
    assert found.key == key
    assert problem in found.problem


def test_the_status_files_directory_is_one_that_the_service_must_write(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"status_file.path": '"TMP/health/process_status"'})
    assert config.status_file == tmp_path / "health" / "process_status"
    assert tmp_path / "health" in write_paths(config)


@pytest.mark.parametrize(
    ("listen", "host", "port"),
    [("127.0.0.1:9464", "127.0.0.1", 9464), ("[::1]:80", "::1", 80), ("edge1:1", "edge1", 1)],
)
def test_metrics_listen_on_a_host_and_port(
    tmp_path: Path, listen: str, host: str, port: int
) -> None:
    metrics = loaded(tmp_path, {"metrics.listen": f'"{listen}"'}).metrics
    assert metrics is not None
    assert (metrics.host, metrics.port) == (host, port)


@pytest.mark.parametrize("listen", ["9464", ":9464", "host", "host:0", "host:99999", "u@h:1"])
def test_what_is_no_host_and_port_is_told(tmp_path: Path, listen: str) -> None:
    (found,) = mistakes(tmp_path, {"metrics.listen": f'"{listen}"'})
    assert found.key == "metrics.listen"
