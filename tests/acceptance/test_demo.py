"""`backupd demo`: what a new user sees first."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from support.daemon import PROGRAMS, environment, on_a_terminal

if TYPE_CHECKING:
    from pathlib import Path

FILES = 60


class Shown(NamedTuple):
    """A demo that ran to its end."""

    directory: Path
    code: int
    stdout: str
    stderr: str

    def after(self, heading: str) -> list[str]:
        """Return the lines below a heading, up to the first empty one after some text."""
        _, _, rest = self.stdout.partition(f"\n{heading}\n")
        return rest.lstrip("\n").partition("\n\n")[0].splitlines()


def demo(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "backupd"), "demo", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(environ)
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    directory = tmp_path_factory.mktemp("demo") / "here"
    run = demo("--dir", str(directory), "--files", str(FILES), ENV_MODE="dev")
    return Shown(directory, run.returncode, run.stdout, run.stderr)


def test_goes_as_it_should_whatever_env_mode_says(shown: Shown) -> None:
    assert shown.code == 0, shown.stderr


def test_shows_plain_progress_where_there_is_no_terminal(shown: Shown) -> None:
    *lines, last = shown.stderr.splitlines()
    assert f"settle {FILES - 1}/{FILES} (1 parked)" in last
    assert f"cleanup {FILES - 1}/{FILES - 1}" in last
    progress = [line for line in lines if re.match(r" +\d+\.\d s  settle \d+/\d+", line)]
    assert len(progress) < 20
    assert len(lines) - len(progress) <= 4  # a file was parked, and incidents opened


def test_tells_what_became_of_each_feed(shown: Shown) -> None:
    heading, *rows = shown.after("What became of each feed")
    assert heading.split() == ["feed", "files", "done", "duplicates", "parked", "records", "size"]
    sums = {row.split()[0]: row.split()[1:5] for row in rows}
    assert len(sums) == 13 + 1
    assert rows[-1].startswith("in all")
    assert rows[-1].split()[2:6] == [str(FILES), str(FILES - 1), "1", "1"]


def test_explains_the_parked_file_as_the_admin_command_does(shown: Shown) -> None:
    told = "\n".join(shown.after("Why a file is parked, as `backupd-admin show` tells it"))
    assert "settle parked" in told
    assert re.search(r"its companion \S+\.cksum says \d+ bytes, the file has \d+", told)
    assert "backupd-admin requeue" in told


def test_tells_what_did_not_come(shown: Shown) -> None:
    told = " ".join(shown.after("What did not come, as `backupd-admin incidents` tells it"))
    assert "feed roaming/eLUX is late" in told
    assert "numbers of feed roaming/eLUX are missing" in told
    assert "missing numbers: 43 (1)" in told
    _, _, rest = shown.stdout.partition("as `backupd-admin completeness` has it\n")
    (row,) = (line for line in rest.splitlines() if line.startswith("roaming/eLUX "))
    assert row.split()[-2:] == ["43", "no"]


def test_writes_the_daily_report_as_a_page(shown: Shown) -> None:
    page = shown.directory / "report.html"
    assert shown.after("The daily report") == [f"file://{page}"]
    assert "1 of 13 feeds incomplete" in page.read_text()
    assert "missing numbers: 43 (1)" in page.read_text()


def test_answers_a_query_on_the_production_table(shown: Shown) -> None:
    assert "SELECT file_type, file_date, count(*) AS files" in shown.stdout
    _, _, answer = shown.stdout.partition("ORDER BY file_type, file_date;\n\n")
    heading, *rows = answer.partition("\n\n")[0].splitlines()
    assert heading.split() == ["file_type", "file_date", "files", "records"]
    assert sum(int(row.split()[2]) for row in rows) == FILES - 2  # one parked, one a duplicate
    assert {row.split()[0] for row in rows} >= {"traffic", "tolling", "activations"}


def test_ships_other_content_under_a_name_of_its_own(shown: Shown) -> None:
    names = [path.name for path in (shown.directory / "archive").rglob("*.gz")]
    assert len(names) == FILES - 2
    assert len([name for name in names if re.search(r"\.csv\.[0-9a-f]{8}\.gz$", name)]) == 1


def test_leaves_in_the_feeds_the_parked_file_alone(shown: Shown) -> None:
    left = [path for path in (shown.directory / "feeds").rglob("*") if path.is_file()]
    assert len(left) == 2
    assert {path.suffix for path in left} == {".csv", ".cksum"}


def test_prints_commands_that_work(shown: Shown) -> None:
    commands = shown.after("Look further")
    assert len(commands) == 10
    for command in commands[:-1]:  # the last one runs the daemon, until it is stopped
        shell = ["sh", "-c", command]
        ran = subprocess.run(shell, capture_output=True, check=False, env=environment({}))
        assert ran.returncode == 0, f"{command}: {ran.stderr!r}"


def test_touches_no_directory_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")

    run = demo("--dir", str(tmp_path))

    assert run.returncode == 1
    assert f"{tmp_path} is not empty" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_refuses_a_directory_whose_socket_could_not_be_reached(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 100)

    run = demo("--dir", str(directory))

    assert run.returncode == 1
    assert "name a shorter directory" in run.stderr
    assert not directory.exists()


def test_shows_bars_on_a_terminal_and_keeps_its_temporary_directory(tmp_path: Path) -> None:
    code, text = on_a_terminal(["backupd", "demo", "--files", "16"], 80, {"TMPDIR": str(tmp_path)})

    assert code == 0
    (directory,) = tmp_path.glob("backupd-demo-*")
    assert str(directory) in text
    assert (directory / "config.toml").is_file()
    assert re.search(r"settle +━+ +15/16 .* 1 parked", text)
    assert re.search(r"cleanup +━+ +15/15 ", text)
    assert '"event"' not in text
