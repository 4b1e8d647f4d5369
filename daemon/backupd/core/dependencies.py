"""What the work depends on, and the words for people when it is down.

Its name is in errors, incidents, metrics and the ledger. A feed's directory and a directory of the
archive are dependencies too, each under a name of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FEED_PREFIX = "feed:"
ARCHIVE_PREFIX = "archive:"


class Dependency(StrEnum):
    """One for all feeds."""

    ARCHIVE = "archive"
    WAREHOUSE = "warehouse"
    IMPALA = "impala"
    HISTORY = "history"
    HOST = "host"  # our own limits on it: descriptors, threads, memory
    MAIL = "mail"
    HOOK = "hook"


@dataclass(frozen=True, kw_only=True)
class DependencyFacts:
    """What to say of an incident: what is wrong, what that means for files, what to type next."""

    title: str
    means: str
    command: str = "backupd check --probe"


FACTS: Mapping[str, DependencyFacts] = {
    Dependency.ARCHIVE: DependencyFacts(
        title="archive is down",
        means="Files are registered but not shipped, and stay on this host. They go on by"
        " themselves once it answers; no attempt is lost meanwhile.",
    ),
    Dependency.WAREHOUSE: DependencyFacts(
        title="warehouse is down",
        means="Files are counted but not registered, and so not shipped either. They go on by"
        " themselves once it works again; no attempt is lost meanwhile.",
    ),
    Dependency.IMPALA: DependencyFacts(
        title="impala is down",
        means="Files go on, but Impala does not see the newest rows. It is refreshed once it works"
        " again.",
    ),
    Dependency.HISTORY: DependencyFacts(
        title="the history cannot be used",
        means="Files go on, but done ones stay in the ledger, which grows; and one that was"
        " delivered before and has left the ledger waits in manifest.",
    ),
    Dependency.HOST: DependencyFacts(
        title="this host is at its limits",
        means="backupd has run out of what this host gives it: descriptors, threads or memory."
        " Files go on one at a time; no attempt is lost meanwhile. It is over when nothing has run"
        " into it for a minute, or for longer where it came back.",
        command="backupd check",
    ),
    Dependency.MAIL: DependencyFacts(
        title="mail cannot be sent",
        means="Files go on, but nobody is notified of incidents by mail. Pending mails are sent"
        " once the mail server accepts them.",
        command="backupd-admin test-alert",
    ),
    Dependency.HOOK: DependencyFacts(
        title="the hook program fails",
        means="Files go on, but the hook program is not notified of incidents. It is tried again.",
        command="backupd-admin test-alert",
    ),
}


def facts_of(name: str) -> DependencyFacts:
    """Return what to say of a dependency; of one that another version of backupd knew, too."""
    unknown = DependencyFacts(title=f"{name} is down", means="What needs it waits.")
    return FACTS.get(name, unknown)


def feed_directory(feed: str) -> str:
    """Return the name of a feed's directory as a dependency."""
    return f"{FEED_PREFIX}{feed}"


def archive_directory(directory: str) -> str:
    """Return the name of a directory of the archive as a dependency."""
    return f"{ARCHIVE_PREFIX}{directory}"
