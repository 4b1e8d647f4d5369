"""What `check` says where it cannot tell files that are still being written from complete ones."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from backupd.config import answering
from backupd.core.names import UNFINISHED
from backupd.localfs.writers import why_writers_unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from backupd.config.sections import Config
    from backupd.core.records import Feed

_NAMED = 5  # feeds
_ADVICE = (
    "have each delivered with a companion, or under a name with a leading dot or ending in"
    f" {', '.join(UNFINISHED[:-1])} or {UNFINISHED[-1]} that is renamed when it is whole; else set"
    " intake.settle_for above the longest pause of a sender"
)


def open_file_warnings(config: Config) -> Iterator[str]:
    """Yield a warning for each reason why the kernel cannot report writers of some feeds' files."""
    if config.intake.open_files == "off":
        return
    reasons: dict[str, list[str]] = defaultdict(list)
    for feed in answering(config):
        reason = _reason(feed)
        if reason is not None:
            reasons[reason].append(feed.name)
    for reason, feeds in reasons.items():
        yield (
            f"the kernel cannot tell whether files of {_named(feeds)} are still being written"
            f" ({reason}): {_ADVICE}"
        )


def _reason(feed: Feed) -> str | None:
    """Return why; None where it does not matter: a companion shows that its file is complete."""
    if feed.companion is not None and feed.companion.required:
        return None
    try:
        return why_writers_unknown(feed.directory)
    except OSError:
        return None  # away, or cannot be listed: that is reported elsewhere


def _named(feeds: Sequence[str]) -> str:
    more = len(feeds) - _NAMED
    return ", ".join(feeds[:_NAMED]) + (f" and {more} more feeds" if more > 0 else "")
