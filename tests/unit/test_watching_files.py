"""The dashboard and the alerting rules ask for figures that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from backupd.config.sections import MetricsSection
from backupd.core.stages import Stage
from backupd.ops.metrics import Meter, MetricsServer, Snapshot

PACKAGING = Path(__file__).parents[2] / "packaging"
RULES = PACKAGING / "prometheus" / "backupd.rules.yml"
DASHBOARD = PACKAGING / "grafana" / "backupd.json"


def figures() -> dict[str, set[str]]:
    """The names of all figures, with their labels."""
    meter = Meter()
    meter.done("traffic/a", 1)
    with pytest.raises(ValueError, match="x"), meter.measure(Stage.SHIP, is_last=False):
        raise ValueError("x")
    snapshot = Snapshot(
        files={("traffic/a", "ship", "waiting"): 1},
        oldest={"traffic/a": 0.0},
        last_done={"traffic/a": 0.0},
        incidents={"feed": 0},
        breakers={"archive": False},
        rescanned=0,
        expected={"traffic/a": 1},
        missing={"traffic/a": 0},
        lateness={"traffic/a": 0.0},
    )
    MetricsServer(MetricsSection(host="", port=0), meter, lambda: snapshot)
    found: dict[str, set[str]] = {}
    for line in generate_latest(meter.registry).decode().splitlines():
        if match := re.match(r"(\w+)(?:\{(.*)\})? ", line):
            found.setdefault(match[1], set()).update(re.findall(r"(\w+)=", match[2] or ""))
    return found


def asked_for(expression: str) -> set[str]:
    return set(re.findall(r"\bbackupd_\w+|\bprocess_\w+", expression))


def family(name: str) -> str:
    return re.sub(r"_(total|bucket|count|sum|created)$", "", name)


def test_every_rule_asks_for_figures_that_there_are() -> None:
    expressions = re.findall(r"expr: (.*)", RULES.read_text())
    assert len(expressions) == 12
    for expression in expressions:
        assert asked_for(expression) <= figures().keys()


def test_every_rule_is_tried() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))
    tried = RULES.with_name("backupd.rules.test.yml").read_text()
    assert alerts == set(re.findall(r"alertname: (\w+)", tried))


def panels() -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return shown


def test_every_panel_shows_the_chosen_hosts_alone() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    for expression in expressions:
        selectors = re.findall(r"\b(?:backupd_\w+|process_\w+|up)\b(\{[^}]*\})?", expression)
        assert selectors, expression
        assert all('instance=~"$instance"' in each for each in selectors), expression


def test_some_panels_show_each_host_apart() -> None:
    apart = [
        panel["title"]
        for panel in panels()
        if all("by (instance)" in each["expr"] for each in panel["targets"][1:] or panel["targets"])
    ]
    assert {"Hosts", "Files done a minute, by host"} <= set(apart)


def test_no_two_panels_lie_on_each_other() -> None:
    taken = [
        (place["x"] + column, place["y"] + row)
        for place in (panel["gridPos"] for panel in panels())
        for column in range(place["w"])
        for row in range(place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_panel_asks_for_figures_that_there_are_and_every_figure_is_shown() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    for expression in expressions:
        assert asked_for(expression) <= figures().keys()
    shown = set().union(*map(asked_for, expressions))
    ours = {family(name) for name in figures() if name.startswith("backupd_")}
    assert ours <= {family(name) for name in shown}
