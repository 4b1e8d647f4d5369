from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import ConfigMistakes, load_places, write_paths
from backupd.config.warehouse import COLUMNS
from backupd.core.records import CompanionRule, Feed
from support.configs import loaded, write

if TYPE_CHECKING:
    from pathlib import Path

    from support.configs import Changes


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"ledger.url": None})

    assert config.environment == "prod"
    assert str(config.ledger.path) == "/var/lib/backupd/ledger.db"
    assert (config.ledger.backup_every, config.ledger.backups_kept) == (86_400, 7)
    intake = config.intake
    assert (intake.mode, intake.rescan_every, intake.settle_for) == ("auto", 60, 5)
    assert intake.open_files == "auto"
    assert (config.batch.max_files, config.batch.max_wait) == (500, 30)
    assert (config.retry.first, config.retry.cap, config.retry.attempts) == (5, 600, 8)
    assert (config.concurrency.manifest, config.concurrency.ship) == (4, 32)
    assert str(config.warehouse.embedded_root) == "/var/lib/backupd/warehouse"
    assert list(config.warehouse.columns.items()) == [(name, name) for name in COLUMNS]
    archive = config.archive
    assert (archive.compression, archive.compression_level) == ("gzip", 1)
    assert (config.cleanup.action, config.cleanup.keep_for) == ("delete", 0)
    assert str(config.control.socket) == "/run/backupd/control.sock"
    assert config.inactive == ()


def test_a_section_makes_a_feed_for_each_customer(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "feeds.traffic.timestamp_regex": r"'_(\d{14})'",
            "feeds.traffic.timestamp_format": '"%Y%m%d%H%M%S"',
            "feeds.traffic.header_lines": "0",
            "feeds.traffic.recursive": "true",
            "feeds.traffic.archive_directory": '"x//{customer}/./t/"',
            "feeds.traffic.companion_suffix": '".md5"',
            "feeds.traffic.companion_algorithm": '"md5"',
            "feeds.traffic.companion_required": "false",
        },
    )

    assert [each.name for each in config.feeds] == ["traffic/a", "traffic/b"]
    assert config.feeds[1] == Feed(
        file_type="traffic",
        customer="b",
        directory=str(tmp_path / "in" / "b"),
        pattern="b_*.csv",
        timestamp_regex=r"_(\d{14})",
        timestamp_format="%Y%m%d%H%M%S",
        header_lines=0,
        recursive=True,
        archive_directory="x/b/t",
        companion=CompanionRule(suffix=".md5", algorithm="md5", required=False),
    )


def test_a_feed_needs_three_keys(tmp_path: Path) -> None:
    first, _ = loaded(tmp_path, {}).feeds

    assert (first.timestamp_regex, first.timestamp_format) == (None, "")
    assert (first.header_lines, first.recursive, first.companion) == (0, False, None)
    assert first.archive_directory == "a/traffic"


def test_a_companion_is_cksum_and_required_unless_told_otherwise(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"feeds.traffic.companion_suffix": '".ck"'})

    rule = CompanionRule(suffix=".ck", algorithm="cksum", required=True)
    assert [each.companion for each in config.feeds] == [rule, rule]


def test_a_customers_name_stands_for_itself_in_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "in" / "[x]*").mkdir(parents=True)

    only = loaded(tmp_path, {"feeds.traffic.customers": '["[x]*"]'}).feeds[0]

    assert only.pattern == "[[]x][*]_*.csv"
    assert only.directory.endswith("/in/[x]*")


def test_what_differs_by_customer_stands_beside_the_customer(tmp_path: Path) -> None:
    (tmp_path / "in" / "lux" / "cdr").mkdir(parents=True)

    one, other = loaded(
        tmp_path,
        {
            "feeds.traffic.directories": '{ a = "lux/cdr" }',
            "feeds.traffic.patterns": '{ a = "LUX-{customer}-*.csv" }',
            "feeds.traffic.archive_directories": '{ b = "old/b" }',
        },
    ).feeds

    assert (one.customer, one.directory) == ("a", str(tmp_path / "in" / "lux" / "cdr"))
    assert (one.pattern, one.archive_directory) == ("LUX-a-*.csv", "a/traffic")
    assert (other.customer, other.directory) == ("b", str(tmp_path / "in" / "b"))
    assert (other.pattern, other.archive_directory) == ("b_*.csv", "old/b/traffic")


def test_the_archive_directory_may_be_the_root(tmp_path: Path) -> None:
    config = loaded(tmp_path, {"feeds.traffic.archive_directory": '""'})

    assert {each.archive_directory for each in config.feeds} == {""}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("500ms", 0.5), ("0s", 0), ("5s", 5), ("10m", 600), ("24h", 86400), ("1d", 86400)],
        *[("1.5s", 1.5), ("1.1s", 1.1), ("0.25ms", 0.00025), ("1.5h", 5400), ("2w", 1209600)],
        *[("1h30m", 5400), ("1m30s", 90), ("1s500ms", 1.5), ("1d2h3m4.5s", 93784.5)],
    ],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert loaded(tmp_path, {"intake.settle_for": f'"{text}"'}).intake.settle_for == seconds


@pytest.mark.parametrize(("environ", "expected"), [({}, "dev"), ({"ENV_MODE": "prod"}, "prod")])
def test_the_variable_overrides_the_environment(
    tmp_path: Path, environ: dict[str, str], expected: str
) -> None:
    assert loaded(tmp_path, {"environment": '"dev"'}, environ).environment == expected


@pytest.mark.parametrize("form", ["%Y%m%d%H%M%S", "%Y-%j", "%d.%m.%y", "%Y%m%dT%H%M%S%z"])
def test_formats_that_tell_a_day(tmp_path: Path, form: str) -> None:
    changes: Changes = {
        "feeds.traffic.timestamp_regex": "'_(.*)'",
        "feeds.traffic.timestamp_format": f"'{form}'",
    }

    assert loaded(tmp_path, changes).feeds[0].timestamp_format == form


@pytest.mark.parametrize(
    "columns",
    [
        str([*COLUMNS[1:-1], COLUMNS[0], COLUMNS[-1]]),
        "{" + ", ".join(f"{name} = 'T_{name}'" for name in COLUMNS) + "}",
    ],
)
def test_columns_keep_their_order(tmp_path: Path, columns: str) -> None:
    config = loaded(tmp_path, {"warehouse.columns": columns})

    names = config.warehouse.columns
    assert sorted(names) == sorted(COLUMNS)
    assert list(names) == [name for name in names if name in columns]
    assert list(names)[-1] == "file_date"


def test_sections_that_are_not_acted_on_are_told(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "warehouse.hive.host": '"hive"',
            "warehouse.hive.staging_url": '"webhdfs://namenode:9870/staging"',
            "warehouse.impala.host": '"impala"',
        },
    )

    assert config.inactive == ("warehouse.hive", "warehouse.impala")


def test_write_paths_are_sorted_and_unique(tmp_path: Path) -> None:
    changes: Changes = {
        "control.socket": '"TMP/control.sock"',
        "warehouse.embedded.root": '"TMP/warehouse"',
    }

    assert write_paths(loaded(tmp_path, changes)) == [
        tmp_path,
        tmp_path / "archive",
        tmp_path / "in" / "a",
        tmp_path / "in" / "b",
        tmp_path / "warehouse",
    ]


def test_feeds_that_are_kept_need_not_be_writable(tmp_path: Path) -> None:
    paths = write_paths(loaded(tmp_path, {"cleanup.action": '"keep"'}))

    assert not [path for path in paths if path.is_relative_to(tmp_path / "in")]


def test_places_are_told_whatever_else_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, {"intake.mode": '"x"', "control.socket": '"/run/x.sock"'})

    ledger, control = load_places(path)

    assert ledger.path == tmp_path / "ledger.db"
    assert str(control.socket) == "/run/x.sock"


def test_places_that_are_wrong_are_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path, {"control.socket": '"x.sock"'})

    with pytest.raises(ConfigMistakes, match=r"control\.socket is not an absolute path"):
        load_places(path)
