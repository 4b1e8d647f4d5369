"""Where the old job's files lie, and its copies, by the variables alone."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest

from backupd.migration.carrying import carry_over
from backupd.migration.layout import templated

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.migration.declarations import Value


def _feeds(**changes: Value) -> dict[str, Any]:
    variables: dict[str, Value] = {
        "edge2node": "mnaas@edge2.example",
        "FEED_CUSTOMER_MAPPING": {"HOL_01": "a b"},
        "MNAAS_backup_files_process_file_pattern": {"t": "*t*.csv"},
        "MNAAS_backup_files_process_backup_dir": {"t": "/nowhere"},
    }
    config: dict[str, Any] = tomllib.loads(carry_over(variables | changes).text)
    feed: dict[str, Any] = config["feeds"]["t"]
    return config | feed


@pytest.mark.parametrize(
    ("paths", "template", "others"),
    [
        ({"a": "/x/a/t", "b": "/x/b/t"}, "/x/{customer}/t", {}),
        ({"a": "/x/A/t", "b": "/x/b/t"}, "/x/{customer}/t", {"a": "A"}),
        ({"a": "/x/1/2/t", "b": "/x/3/t"}, "/x/{customer}/t", {"a": "1/2", "b": "3"}),
        ({"a": "/x", "b": "/x"}, "/x", {}),
        ({"a": "/x", "b": "/x/y"}, "/{customer}", {"a": "x", "b": "x/y"}),
        ({"a": "/x/x", "b": "/x"}, "/{customer}", {"a": "x/x", "b": "x"}),
        ({"a": "p/t", "b": "q/t"}, "{customer}/t", {"a": "p", "b": "q"}),
        ({"a": "/x/y"}, "/x/y", {}),
        ({"a": "/x/a"}, "/x/{customer}", {}),
    ],
)
def test_paths_by_customer_make_one_template(
    paths: dict[str, str], template: str, others: dict[str, str]
) -> None:
    assert templated(paths) == (template, others)
    for customer, path in paths.items():
        assert template.replace("{customer}", others.get(customer, customer)) == path


@pytest.mark.parametrize(
    ("there", "directory"),
    [
        (["a/t", "b"], "{customer}/t"),
        (["a", "b"], "{customer}"),
        (["A/t"], "{customer}/t"),
        ([""], ""),
    ],
)
def test_the_way_of_the_directories_that_are_there_counts(
    tmp_path: Path, there: list[str], directory: str
) -> None:
    for each in there:
        (tmp_path / each).mkdir(parents=True, exist_ok=True)

    feed = _feeds(
        MNAAS_backup_files_process_backup_dir={"t": str(tmp_path)},
        MNAAS_edge2_customer_backup_dir={"a": "A"},
    )

    assert feed["directory"] == f"{tmp_path}/{directory}".rstrip("/")


def test_all_customers_stay_where_no_directory_is_there() -> None:
    feed = _feeds()

    assert (feed["customers"], feed["directory"]) == (["a", "b"], "/nowhere/{customer}/t")


def test_a_shared_directory_puts_the_customer_into_the_pattern(tmp_path: Path) -> None:
    feed = _feeds(MNAAS_backup_files_process_backup_dir={"t": str(tmp_path)})

    assert (feed["directory"], feed["pattern"]) == (str(tmp_path), "{customer}_*t*.csv")


@pytest.mark.parametrize("key", ["t,a", "a_t", "t-a"])
def test_an_element_may_be_for_a_type_of_a_customer(key: str) -> None:
    feed = _feeds(MNAAS_backup_files_process_backup_dir={key: "/x/one", "t": "/x/$customer"})

    assert feed["directory"] == "/x/{customer}"
    assert feed["directories"] == {"a": "one"}


@pytest.mark.parametrize(
    ("variables", "url", "directory"),
    [
        ({"MNAAS_edge2_backup_path": "/r"}, "/r", "{customer}/t"),
        ({"MNAAS_backup_files_edgenode2_backup_dir": {"t": "/r/tt"}}, "/r/tt", "{customer}"),
        (
            {
                "MNAAS_edge2_backup_path": "/r/",
                "MNAAS_backup_files_edgenode2_backup_dir": {"t": "tt"},
            },
            *("/r", "{customer}/tt"),
        ),
        ({"MNAAS_edge2_customer_backup_dir": {"a": "/r/a", "b": "/r/b"}}, "/r", "{customer}/t"),
        (
            {"MNAAS_backup_files_edgenode2_backup_dir": {"t": "/r/$customer/t"}},
            "/r",
            "{customer}/t",
        ),
        ({}, "/home/mnaas", "{customer}/t"),
    ],
)
def test_where_copies_go(variables: dict[str, Value], url: str, directory: str) -> None:
    feed = _feeds(**variables)

    assert feed["archive"]["url"] == f"sftp://mnaas@edge2.example{url}"
    assert feed["archive_directory"] == directory


@pytest.mark.parametrize(
    ("listed", "aliases", "key"),
    [
        ("a|1|HOL_01\nb|2|HOL_01\n", {}, "customers_file"),
        ("a|1\nb|2\nc|3\n", {}, "customers"),
        ("a|1\nb|2\n", {"MNAAS_edge2_customer_backup_dir": {"a": "A"}}, "customers"),
        ("a|1\nb|2", {}, "customers"),
    ],
)
def test_the_jobs_own_list_of_customers_is_kept_where_it_holds(
    tmp_path: Path, listed: str, aliases: dict[str, Value], key: str
) -> None:
    path = tmp_path / "list"
    path.write_text(listed)

    feed = _feeds(**aliases, MNAAS_Create_New_Customers=str(path))

    expected = {"customers_file": str(path), "customers": ["a", "b"]}
    assert {name: feed.get(name) for name in ("customers_file", "customers") if name in feed} == {
        key: expected[key]
    }


def test_the_list_alone_names_the_customers_too(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# customer|id\na|1\n")

    feed = _feeds(FEED_CUSTOMER_MAPPING="", MNAAS_Create_New_Customers=str(path))

    assert feed["customers_file"] == str(path)


def test_a_directory_out_of_the_archive_is_left_out() -> None:
    found = carry_over(
        {
            "MNAAS_edge2_backup_path": "/r",
            "FEED_CUSTOMER_MAPPING": {"t": "a"},
            "MNAAS_backup_files_process_file_pattern": {"t": "*.csv"},
            "MNAAS_backup_files_process_backup_dir": {"t": "/x"},
            "MNAAS_backup_files_edgenode2_backup_dir": {"t": "/elsewhere"},
        }
    )

    assert "archive_directory" not in found.text
    assert "leads out of the archive's root, /r" in " ".join(map(str, found.left_out))


def test_a_key_of_an_array_stays_within_its_comment() -> None:
    found = carry_over(
        {
            "FEED_CUSTOMER_MAPPING": {"x": "a"},
            "MNAAS_backup_files_process_file_pattern": {'t\n[archive]\nurl = "x"': "*.csv"},
            "MNAAS_backup_files_process_backup_dir": {'t\n[archive]\nurl = "x"': "/x"},
        }
    )

    assert "archive" not in tomllib.loads(found.text)


def test_what_is_not_utf8_is_left_out_and_the_rest_carried_over() -> None:
    found = carry_over({"dbname": "\udcff", "edge2node": "mnaas@edge2.example"})

    assert "database" not in found.text
    assert "dbname: is not UTF-8 text" in map(str, found.left_out)
