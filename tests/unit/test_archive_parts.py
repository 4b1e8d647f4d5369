"""Names and places, sums as sha256sum prints them, calls that are made together."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupd.archive.naming import LONGEST_NAME, WHY_SAFE, NamedBy, encode, place
from backupd.archive.sftp.remote_hash import parse_sums
from backupd.core.errors import PermanentError
from backupd.core.request_batcher import MANY, RequestBatcher

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=90
).filter(lambda name: name not in {".", ".."} and len(encode(name)) <= LONGEST_NAME)


def test_a_place_below_the_root() -> None:
    there = place("/backup1", "eLUX/traffic/a.csv.gz")
    assert there.path == "/backup1/eLUX/traffic/a.csv.gz"
    assert there.directory == "/backup1/eLUX/traffic"
    assert there.part("0af.1") == "/backup1/eLUX/traffic/.a.csv.gz.0af.1.part"


@given(name=NAMES, part_id=st.text("0123456789abcdef.", min_size=1, max_size=30))
def test_a_part_is_hidden_short_enough_and_beside_its_file(name: str, part_id: str) -> None:
    there = place("/root", f"d/{name}")
    directory, _, part = there.part(part_id).rpartition("/")
    assert directory == there.directory
    assert part.startswith(".")
    assert part.endswith(f".{part_id}.part")
    assert len(encode(part)) <= LONGEST_NAME
    assert encode(part).decode() == part


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "..", "a/../b", "./a", "a//b", "nul\0", "n" * 256]
)
def test_no_name_leaves_the_root_or_is_too_long(name: str) -> None:
    with pytest.raises(PermanentError):
        place("/root", name)


def test_what_sha256sum_really_prints_is_read_back(tmp_path: Path) -> None:
    names = ["plain", "two  spaces", "back\\slash", "new\nline", "\\n", "*star", " lead", "ü\r"]
    for name in names:
        (tmp_path / name).write_text(name)
    command = ["sha256sum", "--", *(str(tmp_path / name) for name in names)]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    lines = [line + b"\n" for line in printed.split(b"\n")]
    assert parse_sums(lines) == {
        encode(str(tmp_path / name)): hashlib.sha256(name.encode()).hexdigest() for name in names
    }


def test_other_lines_are_no_sums() -> None:
    assert parse_sums([b"This service allows sftp connections only.\n", b"\n", b"e3b0  /x\n"]) == {}


class Calls:
    """Answers in upper case when let; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.may_answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, keys: list[str]) -> dict[str, str]:
        self.asked.append(keys)
        await self.may_answer.wait()
        if self.error:
            raise self.error
        return {key: key.upper() for key in keys}


async def asked(batcher: RequestBatcher[str, str], *keys: str) -> list[asyncio.Task[str]]:
    tasks = [asyncio.create_task(batcher.ask(key)) for key in keys]
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_during_a_call_goes_into_the_next_one() -> None:
    calls = Calls()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    tasks = await asked(batcher, "a") + await asked(batcher, "b", "c", "b")
    calls.may_answer.set()
    assert await asyncio.gather(*tasks) == ["A", "B", "C", "B"]
    assert calls.asked == [["a"], ["b", "c"]]


async def test_a_key_asked_for_during_its_own_call_is_looked_at_again() -> None:
    calls = Calls()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    tasks = await asked(batcher, "a")
    await asyncio.sleep(0)
    tasks += await asked(batcher, "a")
    calls.may_answer.set()
    await asyncio.gather(*tasks)
    assert calls.asked == [["a"], ["a"]]


async def test_several_calls_at_once_where_allowed() -> None:
    calls = Calls()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls, at_once=2)
    tasks = [*await asked(batcher, "a"), *await asked(batcher, "b")]
    tasks += await asked(batcher, "c")
    calls.may_answer.set()
    await asyncio.gather(*tasks)
    assert calls.asked == [["a"], ["b"], ["c"]]


async def test_after_a_call_for_many_the_next_waits_for_company() -> None:
    calls = Calls()
    calls.may_answer.set()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    many = [str(number) for number in range(MANY)]
    await asyncio.gather(*await asked(batcher, *many))
    tasks = [*await asked(batcher, "a"), *await asked(batcher, "b")]
    await asyncio.gather(*tasks)
    assert calls.asked == [many, ["a", "b"]]


async def test_who_waits_for_company_is_let_go_at_the_end() -> None:
    calls = Calls()
    calls.may_answer.set()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    await asyncio.gather(*await asked(batcher, *map(str, range(MANY))))
    (waiting,) = await asked(batcher, "a")
    await batcher.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await batcher.ask("b") == "B"


async def test_an_error_reaches_every_caller_and_the_next_call_is_made() -> None:
    calls = Calls()
    calls.error = TimeoutError("down")
    calls.may_answer.set()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    tasks = await asked(batcher, "a", "b", "b")
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 3
    calls.error = None
    assert await batcher.ask("d") == "D"


async def test_a_caller_that_gives_up_takes_nobody_with_it() -> None:
    calls = Calls()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    first, second = await asked(batcher, "a", "a")
    first.cancel()
    calls.may_answer.set()
    assert await second == "A"


async def test_closing_gives_up_what_is_under_way() -> None:
    calls = Calls()
    batcher: RequestBatcher[str, str] = RequestBatcher(calls)
    tasks = await asked(batcher, "a")
    await asyncio.sleep(0)
    await batcher.aclose()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


def test_every_way_to_take_a_name_says_why_it_is_safe() -> None:
    assert set(WHY_SAFE) == set(NamedBy)
