"""Feeds, a warehouse, an archive and a daemon that is killed again and again."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from support.deliveries import FEEDS, Deliveries
from support.proofs import Proofs, files_below
from support.victim import Victim

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.sshd import SshServer
    from support.victim import Moment

    Meanwhile = Callable[["CrashSite"], None]

CONFIG = """
[ledger]
url = "sqlite:///{root}/ledger/ledger.db"

[intake]
rescan_every = "1s"
settle_for = "100ms"

[batch]
max_files = 10
max_wait = "200ms"

[retry]
first = "{pauses[0]}"
cap = "{pauses[1]}"

[warehouse.embedded]
root = "{root}/warehouse"

[control]
socket = "{root}/run/control.sock"

[archive]
url = "{archive}"
"""
KEYS = """
identity_file = "{server.identity}"
known_hosts_file = "{server.known_hosts}"
"""
PATIENCE = 40.0  # seconds for a moment to come, or the last run to end, on a busy machine


class CrashSite:
    """One scene below `root`; the archive is a directory, reached through `server` if given."""

    def __init__(
        self,
        root: Path,
        seed: int,
        server: SshServer | None = None,
        *,
        pauses: tuple[str, str] = ("100ms", "2s"),
    ) -> None:
        """`pauses` are `retry.first` and `retry.cap`."""
        self.root = root
        self.server = server
        self.rng = random.Random(seed)
        self.kills: list[str] = []  # when it was killed, and what ran
        self.hits: Counter[str] = Counter()  # how many kills hit a stage at work
        self._parts: set[str] = set()
        archive = root / "archive"
        self.deliveries = Deliveries(root / "feeds", archive, self.rng)
        ledger = root / "ledger" / "ledger.db"
        self.proofs = Proofs(
            feeds=root / "feeds",
            archive=archive,
            warehouse=root / "warehouse",
            ledger=ledger,
            deliveries=self.deliveries,
        )
        for directory in (ledger.parent, root / "run", archive):
            directory.mkdir()
        (root / "config.toml").write_text(self._config(archive, pauses))
        self.victim = Victim(root / "config.toml", ledger, root / "journal")

    def kill_once(
        self, moment: Moment, meanwhile: Meanwhile | None = None, *, once: bool = False
    ) -> None:
        """Start a daemon, kill it at a moment, then see that nothing is lost or doubled.

        `meanwhile` is done while it runs, before the moment is waited for.
        """
        self.deliveries.small()  # one at least goes through every stage, so that each moment comes
        self.deliveries.some(self.rng.randint(0, 3))
        self.victim.start(once=once)
        if meanwhile:
            meanwhile(self)
        self.victim.reaches(moment, PATIENCE)
        self.victim.kill()
        self._note(moment, meanwhile)
        self.proofs.hold_at_any_moment()

    def run_to_the_end(self) -> None:
        """Let it work in peace, then see that everything is where it belongs."""
        self.deliveries.owed_companions()
        self.victim.start(once=True)
        parked = bool(self.deliveries.refused)
        assert self.victim.ends(PATIENCE) == parked, self.victim.journal_end()
        self.proofs.hold_in_the_end()
        assert not list((self.root / "run").iterdir()), "the control socket is left behind"

    def report(self) -> str:
        """Return what each kill hit, and how many hit each stage."""
        return "\n".join([*self.kills, f"hits: {dict(self.hits)}"])

    def _note(self, moment: Moment, meanwhile: Meanwhile | None) -> None:
        ran = self.victim.what_ran()
        parts = {name for name in files_below(self.root / "archive") if "/." in name}
        half_shipped = len(parts - self._parts)
        self._parts = parts
        self.hits.update([*ran, *(["half shipped"] if half_shipped else [])])
        doing = f" ({meanwhile.__name__})" if meanwhile else ""
        self.kills.append(f"{moment.name}{doing}: running {dict(ran)}, half shipped {half_shipped}")

    def close(self) -> None:
        """Leave no daemon behind."""
        self.victim.kill()

    def _config(self, archive: Path, pauses: tuple[str, str]) -> str:
        url, keys = f"file://{archive}", ""
        if self.server is not None:
            address = f"{self.server.username}@{self.server.host}:{self.server.port}"
            url, keys = f"sftp://{address}{archive}", KEYS.format(server=self.server)
        feeds = FEEDS.format(directory=self.root / "feeds")
        return CONFIG.format(root=self.root, archive=url, pauses=pauses) + keys + feeds
