"""Each dependency has the words that people read when it is down."""

from __future__ import annotations

import pytest

from backupd.alerts.meaning import meaning, next_command
from backupd.core.dependencies import FACTS, Dependency
from backupd.core.incidents import Incident, Kind


@pytest.mark.parametrize("dependency", Dependency)
def test_an_incident_says_what_is_wrong_what_it_means_and_what_to_do(
    dependency: Dependency,
) -> None:
    incident = Incident(
        id="i1",
        kind=Kind.DEPENDENCY,
        cause=dependency.value,
        feed="",
        trouble="",
        reason="no route to host",
        opened_at=0.0,
    )
    facts = FACTS[dependency]
    assert all((facts.title, facts.means, facts.command))
    assert incident.title == facts.title
    assert meaning(incident) == facts.means
    assert next_command(incident) == facts.command
