from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from backupd.config import ConfigMistakes, Mistake, directories, load
from backupd.config.schema import CONFIG
from backupd.config.tables import NamedTables, Table
from backupd.config.warehouse import COLUMNS
from support.configs import loaded, mistakes, one_traffic_feed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.configs import Changes


@pytest.mark.parametrize(
    "text",
    [
        *["", "5", "s", "-5s", "+5s", ".5s", "1.s", "1.5", "5 s", " 5s", "5S", "\u0665s", "5s\\n"],
        *["30m1h", "1h1h", "1h30", "1h-30m", "1h 30m", "1e3s", "1,5s"],
    ],
)
def test_other_forms_are_not_durations(tmp_path: Path, text: str) -> None:
    (only,) = mistakes(tmp_path, {"intake.settle_for": f'"{text}"'})

    assert only.key == "intake.settle_for"
    assert "not a valid duration" in only.problem
    assert '"1h30m"' in only.allowed


@pytest.mark.parametrize("wrong", ["test", "", "PROD"])
def test_a_wrong_variable_is_a_mistake_of_its_own(tmp_path: Path, wrong: str) -> None:
    (only,) = mistakes(tmp_path, {}, {"ENV_MODE": wrong})

    assert only == Mistake("$ENV_MODE", f"is {wrong!r}", '"prod" or "dev"')


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("environment", '"staging"', "is 'staging'"),
        ("environment", "true", "is true or false, not text"),
        ("enviroment", '"dev"', "is an unknown key, did you mean environment?"),
        ("zzz", "1", "is an unknown key"),
        ("intak.mode", '"auto"', "is an unknown section, did you mean intake?"),
        ("batch", "3", "is a whole number, not a table"),
        ("ledger.url", '"sqlite:///ledger.db"', "is not a valid SQLite URL"),
        ("ledger.url", '"sqlite://"', "is not a valid SQLite URL"),
        ("ledger.url", '"sqlite:////x.db?mode=ro"', "is not a valid SQLite URL"),
        ("ledger.url", '"postgresql:////x"', "is not a valid SQLite URL"),
        ("ledger.url", '"sqlite:///TMP"', "which is a directory"),
        ("ledger.backup_every", '"often"', "is 'often', which is not a valid duration"),
        ("ledger.backups_kept", "0", "is 0, which is out of range"),
        ("feeds.traffic.directories", '"lux"', "is text, not a table"),
        ("feeds.traffic.directories", '{ a = "../b" }', "'../b', which is not a part of a path"),
        ("feeds.traffic.directories", '{ a = "/b" }', "'/b', which is not a part of a path"),
        ("feeds.traffic.directories", "{ a = 1 }", "is a whole number, not text"),
        ("feeds.traffic.directories", '{ z = "b" }', "names z, which customers does not have"),
        ("feeds.traffic.patterns", '{ a = "x/*" }', 'holds "/"'),
        ("feeds.traffic.patterns.a", '".*"', "matches no name"),
        ("feeds.traffic.archive_directories", '{ a = "." }', "'.', which is not a part of a path"),
        ("feeds.traffic.archive_directory", '".backupd/a"', "where snapshots of the ledger are"),
        ("feeds.traffic.archive_directory", '".backupd"', "where snapshots of the ledger are"),
        ("intake.mode", '"inotify"', "is 'inotify'"),
        ("intake.mode", "1979-05-27", "is a date or time, not text"),
        ("intake.rescan_every", '"0s"', "is '0s', which is out of range"),
        ("intake.settle_for", '"4000d"', "is '4000d', which is out of range"),
        ("intake.open_files", '"on"', "is 'on'"),
        ("intake.settle_for", "5", "is a whole number, not text"),
        ("batch.max_files", "0", "is 0, which is out of range"),
        ("batch.max_files", "true", "is true or false, not a whole number"),
        ("batch.max_files", "1.5", "is a fraction, not a whole number"),
        ("retry.attempts", "-1", "is -1, which is out of range"),
        ("retry.cap", '"1s"', "is shorter than retry.first"),
        ("concurrency.ship", "99999", "is 99999, which is out of range"),
        ("warehouse.kind", '"oracle"', "is 'oracle'"),
        ("warehouse.embedded.root", '"warehouse"', "is not an absolute path"),
        ("warehouse.columns", '["file_id"]', "lacks columns: file_type, customer"),
        ("warehouse.columns", str([*COLUMNS, "x"]), "has unknown columns: x"),
        ("warehouse.columns", str([*COLUMNS, "file_id"]), "names a column twice"),
        ("warehouse.columns", str(list(COLUMNS[::-1])), "must end with file_date"),
        ("archive.url", None, "is missing"),
        ("archive.url", '"ftp://u@h/x"', 'has the scheme "ftp"'),
        ("archive.url", '"/backup"', 'has the scheme ""'),
        ("archive.url", '"file://var/lib"', "names a host"),
        ("archive.url", '"file:"', "needs an absolute path"),
        ("archive.url", '"file:///a/../b"', 'needs an absolute path without ".."'),
        ("archive.url", '"file:///a/%2e%2e/b"', 'needs an absolute path without ".."'),
        ("archive.url", '"file:///a%00b"', "holds a control character"),
        ("archive.url", '"file:///a?b"', 'holds "?" or "#"'),
        ("archive.url", '"sftp:///x"', "names no host"),
        ("archive.url", '"sftp://h/x"', "names no user"),
        ("archive.url", '"sftp://u@h:99999/x"', "is not a valid URL"),
        ("archive.url", '"sftp://u@[h/x"', "is not a valid URL"),
        ("archive.proxy_jump", '"gateway"', "is not a valid user@host:port"),
        ("archive.proxy_jump", '"user:secret@gateway"', "holds a password"),
        ("archive.proxy_jump", '"user@gateway/x"', "is not a valid user@host:port"),
        ("archive.compression", '"zstd"', "is 'zstd'"),
        ("archive.compression_level", "10", "is 10, which is out of range"),
        ("archive.connections", "0", "is 0, which is out of range"),
        ("archive.connections", "33", "is 33, which is out of range"),
        ("archive.connections", '"two"', "is text, not a whole number"),
        ("cleanup.keep_for", '"soon"', "is 'soon', which is not a valid duration"),
        ("control.socket", '""', "is empty"),
        ("control.socket", f'"/{"é" * 54}"', "is 109 bytes long, too long for a socket"),
        ("feeds.traffic.customers", None, "is missing"),
        ("feeds.traffic.customers", "[]", "is an empty list"),
        ("feeds.traffic.customers", '["a", ""]', "is empty"),
        ("feeds.traffic.customers", "[1]", "is a whole number, not text"),
        ("feeds.traffic.customers", '["a", "b", "a"]', "names a customer twice: a"),
        ("feeds.traffic.customers", '["a/b"]', "'a/b' would lead out of its directory"),
        ("feeds.traffic.customers", '[".."]', "'..' would lead out of its directory"),
        ("feeds.traffic.customers", r'["a\n"]', "holds a control character"),
        ("feeds.traffic.directory", '"in/{customer}"', "is not an absolute path"),
        ("feeds.traffic.directory", '"/in/{custmer}"', "holds {custmer}, which stands for nothing"),
        ("feeds.traffic.directory", '"TMP/ledger-{customer}"', "which does not exist"),
        ("feeds.traffic.patern", '"*"', "is an unknown key, did you mean pattern?"),
        ("feeds.traffic.pattern", '"x/{customer}*.csv"', 'holds "/"'),
        ("feeds.traffic.pattern", '".{customer}*"', "matches no name, or only hidden ones"),
        ("feeds.traffic.header_lines", "-1", "is -1, which is out of range"),
        ("feeds.traffic.recursive", '"no"', "is text, not true or false"),
        ("feeds.traffic.archive_directory", '"/x"', "is absolute"),
        ("feeds.traffic.archive_directory", '"x/../../y"', "would leave the archive's root"),
        ("feeds.traffic.companion_suffix", '"cksum"', "is 'cksum'"),
        ("feeds.traffic.companion_suffix", '"./x"', "is './x'"),
        ("feeds.traffic.companion_suffix", '".csv"', "every file of the pattern would be a comp"),
        ("feeds.traffic.companion_algorithm", '"md5"', "is given without companion_suffix"),
        ("feeds.traffic.companion_required", "true", "is given without companion_suffix"),
        ("feeds.traffic.timestamp_format", '"%Y%m%d"', "is given without timestamp_regex"),
        ("feeds.traffic.timestamp_regex", '"([0-9]+)"', "is given without timestamp_format"),
        ('feeds."a/b".pattern', '"*"', "'a/b' would lead out of its directory"),
        ("metrics.listen", "0", "is a whole number, not text"),
        ("alerts.smtp_url", '"http://mail"', 'has the scheme "http"'),
        ("alerts.tos", '["x"]', "is an unknown key, did you mean to?"),
        ("warehouse.impala.host", "[]", "is a list, not text"),
        ("warehouse.hive.settings", "{a = 1}", "is a whole number, not text"),
        ("warehouse.hive.settings", '{"a;b" = "1"}', "has names that no setting can have: 'a;b'"),
        ("kerberos.principal", '"backupd"', "is 'backupd', which is not a valid principal"),
        ("warehouse.hive.hosts", '["hive"]', "is not a valid host and port"),
        ("warehouse.hive.http_path", '"/"', "is not a valid path"),
        ("warehouse.hive.auth", '"none"', "is 'none'"),
        ("warehouse.hive.merge", '"append"', "is 'append'"),
        ("warehouse.hive.database", '"a`b"', "is 'a`b', which is not a name"),
        ("warehouse.hive.production_table", '"a.b"', "is 'a.b', which is not a name"),
        ("warehouse.hive.staging_url", '"/x"', "is not a valid URL of a folder"),
        ("warehouse.hive.staging_url", '"webhdfs:///x"', "names no host"),
        ("warehouse.hive.staging_url", '"webhdfs://u:p@h/x"', "holds a password"),
        ("warehouse.hive.staging_url", '"webhdfs://h/"', "needs a path below /"),
        ("warehouse.hive.staging_url", '"webhdfs://h/a/../b"', "needs a path below /"),
        ("warehouse.hive.staging_url", """ "webhdfs://h/a'b" """, "needs a path below /"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(tmp_path: Path, key: str, value: str | None, problem: str) -> None:
    found = mistakes(tmp_path, {key: value})

    names = {key, key.rpartition(".")[0].replace('"', "")}
    assert [each for each in found if each.key in names and problem in each.problem], found
    assert all(each.allowed for each in found)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        {
            "intake.mode": '"x"',
            "retry.attempts": "0",
            "colour": '"red"',
            "feeds.traffic.directory": '"/not/there/{customer}"',
            "feeds.traffic.timestamp_regex": "'('",
            "feeds.traffic.timestamp_format": "'%Q'",
        },
        {"ENV_MODE": "x"},
    )

    assert {each.key for each in found} == {
        "$ENV_MODE",
        "colour",
        "intake.mode",
        "retry.attempts",
        "feeds.traffic.directory",
        "feeds.traffic.timestamp_regex",
        "feeds.traffic.timestamp_format",
    }


def test_mistakes_read_as_lines(tmp_path: Path) -> None:
    with pytest.raises(ConfigMistakes) as raised:
        loaded(tmp_path, {"retry.attempts": "0", "intake.mode": '"x"'})

    assert str(raised.value).splitlines() == [
        'intake.mode is \'x\' (allowed: "auto" or "events" or "poll")',
        "retry.attempts is 0, which is out of range (allowed: a whole number from 1 to 1000)",
    ]


def test_a_missing_directory_is_told_for_each_customer(tmp_path: Path) -> None:
    (tmp_path / "in2").mkdir()
    (tmp_path / "in2" / "file").touch()
    changes: Changes = {
        "feeds.traffic.directory": '"TMP/in2/{customer}"',
        "feeds.traffic.customers": '["a", "file", "c"]',
    }

    found = mistakes(tmp_path, changes)

    key, allowed = "feeds.traffic.directory", "an existing directory"
    base = tmp_path / "in2"
    assert found == [
        Mistake(key, f"names {base}/a, which does not exist", allowed),
        Mistake(key, f"names {base}/file, which is not a directory", allowed),
        Mistake(key, f"names {base}/c, which does not exist", allowed),
    ]


def test_a_directory_that_cannot_be_looked_at_says_why(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")

    (only,) = mistakes(tmp_path, one_traffic_feed("*", directory='"TMP/loop"'))

    assert only.problem.endswith("loop, which cannot be used: Too many levels of symbolic links")


def test_an_empty_config_lacks_an_archive_and_feeds(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.touch()

    with pytest.raises(ConfigMistakes) as raised:
        load(path, environ={})

    assert [each.key for each in raised.value.mistakes] == ["archive.url", "feeds"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a = 1\nb = = 2\n", "line 2"),
        (b'a = 1\n\nb = "\xff"\n', "is not UTF-8 text (line 3)"),
        (b"a = 1\na = 2\n", "line 2"),
        (b"\xef\xbb\xbfa = 1\n", "begins with a byte order mark"),
    ],
)
def test_a_file_that_is_no_toml_names_the_line(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigMistakes, match=r"config\.toml") as raised:
        load(path, environ={})

    (only,) = raised.value.mistakes
    assert only.key == str(path)
    assert problem in only.problem


@pytest.mark.parametrize(("name", "why"), [("gone", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigMistakes, match=f"cannot be read: {why}"):
        load(tmp_path / name, environ={})


@pytest.mark.parametrize(
    ("regex", "problem"),
    [("(", "is not a valid regular expression"), ("x", "has 0 groups"), ("(a)(b)", "has 2 groups")],
)
def test_a_timestamp_regex_has_one_group(tmp_path: Path, regex: str, problem: str) -> None:
    changes: Changes = {
        "feeds.traffic.timestamp_regex": f"'{regex}'",
        "feeds.traffic.timestamp_format": "'%Y%m%d'",
    }

    (only,) = mistakes(tmp_path, changes)

    assert only.key == "feeds.traffic.timestamp_regex"
    assert problem in only.problem


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("%Q", "cannot be used to read a time"),
        ("%s", "cannot be used to read a time"),
        ("%Y%m%d%", "cannot be used to read a time"),
        ("%Y%m%d%Y", "cannot be used to read a time"),
        ("%H%M%S", "does not tell the day"),
        ("YYYYMMDD", "does not tell the day"),
        ("%Y%m", "does not tell the day"),
    ],
)
def test_formats_that_do_not(tmp_path: Path, form: str, problem: str) -> None:
    changes: Changes = {
        "feeds.traffic.timestamp_regex": "'_(.*)'",
        "feeds.traffic.timestamp_format": f"'{form}'",
    }

    (only,) = mistakes(tmp_path, changes)

    assert (only.key, only.problem) == ("feeds.traffic.timestamp_format", problem)


@pytest.mark.parametrize(
    ("theirs", "problem"),
    [("two words", "names that no table can have: 'two words'"), ("File_Type", "the same name")],
)
def test_columns_need_names_that_a_table_can_have(
    tmp_path: Path, theirs: str, problem: str
) -> None:
    names = {name: name for name in COLUMNS} | {"file_id": theirs}
    table = ", ".join(f'{ours} = "{name}"' for ours, name in names.items())

    (only,) = mistakes(tmp_path, {"warehouse.columns": f"{{{table}}}"})

    assert only.key == "warehouse.columns"
    assert problem in only.problem


@pytest.mark.parametrize("found", ["nfs4", "cifs", "fuse.sshfs", "9p", "ceph"])
def test_a_ledger_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    monkeypatch.setattr(directories, "filesystem_type", lambda _path: found)

    (only,) = mistakes(tmp_path, {})

    assert only.key == "ledger.url"
    assert f"a network file system ({found})" in only.problem


def test_a_file_system_that_cannot_be_told_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_path: Path) -> str:
        raise OSError("the mount table does not know it")

    monkeypatch.setattr(directories, "filesystem_type", unknown)

    assert loaded(tmp_path, {}).ledger.path == tmp_path / "ledger.db"


@pytest.mark.parametrize(
    "url", ["sftp://u:hunter2@h/x", "ftp://u:hunter2@h/x", "sftp://u:hunter2@h:x/x"]
)
def test_no_message_repeats_a_password(tmp_path: Path, url: str) -> None:
    changes: Changes = {
        "archive.url": f'"{url}"',
        "archive.password": '"hunter2"',
        "alerts.smtp_url": '"smtp://u:hunter2@mail"',
    }

    found = mistakes(tmp_path, changes)

    assert {each.key for each in found} == {"archive.url", "archive.password", "alerts.smtp_url"}
    assert "hunter2" not in str(found)


def dotted(table: Table, prefix: str = "") -> Iterator[str]:
    for name, entry in table.entries.items():
        yield f"{prefix}{name}"
        if isinstance(entry, NamedTables):
            yield from dotted(entry.each, f"{prefix}{name}.traffic.")
        if isinstance(entry, Table):
            yield from dotted(entry, f"{prefix}{name}.")


@pytest.mark.parametrize(
    "value",
    [
        '""', '"x"', '"/"', '"."', '"%"', '"["', '"("', '"\\u0000"', '"sftp://"', '"{customer}"',
        "0", "-1", "99999999999999999999999", "nan", "-inf", "true", "1979-05-27", "12:00:00",
        "[]", "[[]]", "[1]", '["x"]', '[{}]', "{}", "{a = 1}", '{"" = {}}',
    ],
)  # fmt: skip
def test_whatever_a_key_holds_is_accepted_or_told(tmp_path: Path, value: str) -> None:
    for key in dotted(CONFIG):
        with suppress(ConfigMistakes):
            loaded(tmp_path, {key: value})
