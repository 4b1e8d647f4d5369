"""`customers_file`: the customers of a section in a file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from backupd.config import keep_customers, load
from support.configs import loaded, mistakes, write

if TYPE_CHECKING:
    from pathlib import Path

    from backupd.config.sections import Config
    from support.configs import Changes

IN_FILE: Changes = {"feeds.traffic.customers": None, "feeds.traffic.customers_file": '"TMP/list"'}


def _loaded(tmp_path: Path, content: bytes, **more: str) -> Config:
    (tmp_path / "list").write_bytes(content)
    changes: Changes = {f"feeds.traffic.{name}": value for name, value in more.items()}
    return loaded(tmp_path, IN_FILE | changes)


def _customers(config: Config) -> list[str]:
    return [feed.customer for feed in config.feeds]


@pytest.mark.parametrize(
    ("content", "customers"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"# customers\n\n  b  \n\ta\n#c\n", ["b", "a"]),
        (b"b\na\nb\n", ["b", "a"]),
        (b"b\r\na\r\n", ["b", "a"]),
        ("é\n".encode(), ["é"]),
    ],
)
def test_each_line_is_a_customer(tmp_path: Path, content: bytes, customers: list[str]) -> None:
    assert _customers(_loaded(tmp_path, content)) == customers


def test_a_column_may_be_chosen(tmp_path: Path) -> None:
    content = b"# id|customer|feed\n1| a |HOL_01\n2|b|HOL_01\n3|b|SNG_01\n"

    assert _customers(_loaded(tmp_path, content, customers_column="2")) == ["a", "b"]


UNUSABLE = [
    (b"", "names no customer"),
    (b"# nobody\n", "names no customer"),
    (b"a\nb", "ends within a line"),
    (b"a\n\xff\n", "is not UTF-8 text"),
    (b"a\n../b\n", "has a customer in line 2 that '../b' would lead out"),
    (b"a\n|x\n", "has a customer in line 2 that is empty"),
    (b"a\nb\x00\n", "has a customer in line 2 that holds a control character"),
]


@pytest.mark.parametrize(("content", "problem"), UNUSABLE)
def test_what_cannot_be_used_is_a_mistake(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "list").write_bytes(content)

    (only,) = mistakes(tmp_path, IN_FILE)

    assert only.key == "feeds.traffic.customers_file"
    assert problem in only.problem


def test_a_missing_column_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("a|x\nb\n")

    (only,) = mistakes(tmp_path, {**IN_FILE, "feeds.traffic.customers_column": "2"})

    assert "has no column 2 in line 2" in only.problem


@pytest.mark.parametrize(
    ("changes", "key", "problem"),
    [
        ({"feeds.traffic.customers_file": None}, "feeds.traffic.customers", "is missing"),
        ({"feeds.traffic.customers": '["a"]'}, "feeds.traffic.customers_file", "stands beside"),
        (
            {
                "feeds.traffic.customers": '["a"]',
                "feeds.traffic.customers_file": None,
                "feeds.traffic.customers_column": "2",
            },
            "feeds.traffic.customers_column",
            "is given without customers_file",
        ),
    ],
)
def test_there_is_one_of_the_two(tmp_path: Path, changes: Changes, key: str, problem: str) -> None:
    (tmp_path / "list").write_text("a\n")

    (only,) = mistakes(tmp_path, IN_FILE | changes)

    assert (only.key, problem in only.problem) == (key, True)


@pytest.mark.parametrize("content", [None, *(content for content, _ in UNUSABLE)])
def test_the_last_good_list_stays(tmp_path: Path, content: bytes | None) -> None:
    good = _loaded(tmp_path, b"b\na\n")
    keep_customers(good.ledger.path, good.customers_files)
    (tmp_path / "list").unlink()
    if content is not None:
        (tmp_path / "list").write_bytes(content)

    config = loaded(tmp_path, IN_FILE)

    assert config.feeds == good.feeds
    assert config.customers_files[0].trouble


def test_the_list_of_another_file_is_not_taken(tmp_path: Path) -> None:
    good = _loaded(tmp_path, b"a\n")
    keep_customers(good.ledger.path, good.customers_files)

    (only,) = mistakes(tmp_path, {**IN_FILE, "feeds.traffic.customers_file": '"TMP/other"'})

    assert (
        only.problem == f"names {tmp_path}/other, which cannot be read: No such file or directory"
    )


def test_what_is_not_good_is_not_kept(tmp_path: Path) -> None:
    good = _loaded(tmp_path, b"a\n")
    keep_customers(good.ledger.path, good.customers_files)
    (tmp_path / "list").unlink()
    for _ in range(2):
        config = loaded(tmp_path, IN_FILE)
        keep_customers(config.ledger.path, config.customers_files)

    assert _customers(config) == ["a"]


def test_a_customer_in_a_file_may_lack_a_directory(tmp_path: Path) -> None:
    assert _customers(_loaded(tmp_path, b"a\nnew\n")) == ["a", "new"]


def test_names_of_customers_to_come_are_no_mistake(tmp_path: Path) -> None:
    config = _loaded(tmp_path, b"a\n", directories='{ z = "b" }')

    assert _customers(config) == ["a"]


def test_no_feed_may_take_the_file(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "list").write_text("a\n")

    (only,) = mistakes(tmp_path, {**IN_FILE, "feeds.traffic.customers_file": '"TMP/in/a/list"'})

    assert f"which holds {tmp_path}/in/a/list" in only.problem


def test_the_customers_are_read_again_without_the_config(tmp_path: Path) -> None:
    config = _loaded(tmp_path, b"a\n")
    (tmp_path / "list").write_text("b\n")
    path = write(tmp_path, {**IN_FILE, "feeds.traffic.pattern": '"other"'})

    again = load(path, environ={}, document=config.document)

    assert [(feed.customer, feed.pattern) for feed in again.feeds] == [("b", "b_*.csv")]
