"""Each campaign is a test; at the end comes the table of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.campaigns import Campaign, Row, table, write_result

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

ROWS = pytest.StashKey[list[Row]]()
PASSED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Iterator[Campaign]:
    """The campaign of this test: named as it is, in plain words."""
    name = request.node.name
    campaign = Campaign(name.removeprefix("test_").replace("_", " "), name.partition("[")[0])
    request.config.stash[ROWS].append(campaign.row)
    yield campaign
    campaign.close(passed=request.node.stash.get(PASSED, False))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if rows := config.stash[ROWS]:
        write_result(rows)
        terminalreporter.section("faults: all columns but tries and files must be 0")
        terminalreporter.write_line("\n".join(table(rows)))
