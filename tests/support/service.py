"""backupd as a service in a box, installed by hand as the docs say."""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.box import Box

UNIT = "backupd.service"
INBOX = "/backup1/in/a"
_REPOSITORY = Path(__file__).resolve().parents[2]
_LIBRARIES, _SOURCE, _PACKAGING = "/srv/libraries", "/srv/source", "/srv/packaging"
_COMMANDS = {"backupd": "daemon", "backupd-admin": "admin"}

# One feed whose files go through in a moment, on embedded defaults.
CONFIG: dict[str, dict[str, Any]] = {
    "archive": {"url": "file:///var/lib/backupd/archive"},
    "intake": {"settle_for": "100ms", "rescan_every": "1s"},
    "batch": {"max_wait": "100ms"},
    "retry": {"first": "100ms", "cap": "200ms"},
    "feeds.traffic": {
        "customers": ["a"],
        "directory": "/backup1/in/{customer}",
        "pattern": "*.csv",
        "header_lines": 1,
    },
}


def mounts() -> dict[str, Path]:
    """Return what a box must see of the host: the project, and the libraries that it runs on."""
    return {
        _LIBRARIES: Path(sysconfig.get_path("purelib")),
        _SOURCE: _REPOSITORY / "daemon",
        _PACKAGING: _REPOSITORY / "packaging",
    }


class Service:
    """The service of a running box."""

    def __init__(self, inside: Box) -> None:
        self.box = inside

    # -- set up ----------------------------------------------------------------------------------

    def install(self) -> None:
        """Install commands, unit, user and directories; make the feed's directory."""
        self.box.shell("/usr/bin/python3 -m venv --without-pip /opt/backupd")
        places = self.box.path("/opt/backupd/lib").glob("python*/site-packages")
        (next(places) / "backupd.pth").write_text(f"{_SOURCE}\n{_LIBRARIES}\n")
        for command, module in _COMMANDS.items():
            program = f"#!/opt/backupd/bin/python\nfrom backupd.cli.{module} import main\nmain()\n"
            self.box.write(f"/opt/backupd/bin/{command}", program)
        self.box.shell(
            "chmod 755 /opt/backupd/bin/backupd*"
            " && ln -s /opt/backupd/bin/backupd /opt/backupd/bin/backupd-admin /usr/bin/"
            f" && cd {_PACKAGING}/systemd"
            " && install -D -m 644 -t /etc/systemd/system backupd.service"
            " && install -D -m 644 -t /etc/sysusers.d sysusers.d/backupd.conf"
            " && install -D -m 644 -t /etc/tmpfiles.d tmpfiles.d/backupd.conf"
            " && systemd-sysusers && systemd-tmpfiles --create backupd.conf"
            f" && mkdir -p {INBOX} && chown backupd: {INBOX}"
        )
        self.configure()
        self.open_write_paths()
        # Else a test would wait for as long as the unit waits in life.
        self.drop_in("quick", {"RestartSec": "200ms"})

    def configure(self, changes: Mapping[str, dict[str, Any]] | None = None) -> None:
        """Write the config, with some sections' keys changed or added."""
        sections = {name: dict(keys) for name, keys in CONFIG.items()}
        for name, keys in (changes or {}).items():
            sections.setdefault(name, {}).update(keys)
        self.box.write("/etc/backupd/config.toml", "\n".join(_toml(sections)))
        self.box.run("systemd-tmpfiles", "--create", "backupd.conf")

    def open_write_paths(self) -> None:
        """Make the drop-in that opens the feeds' directories, by the line in the docs."""
        self.box.shell(write_paths_line())

    def drop_in(self, name: str, settings: Mapping[str, str]) -> None:
        """Add settings to the unit's section [Service]."""
        lines = ["[Service]", *(f"{key}={value}" for key, value in settings.items())]
        self.box.write(f"/etc/systemd/system/{UNIT}.d/{name}.conf", "\n".join(lines))
        self.box.run("systemctl", "daemon-reload")

    # -- run -------------------------------------------------------------------------------------

    def systemctl(self, verb: str, *, check: bool = True) -> tuple[int, str]:
        """Do it to the unit; return the exit code and what was said on stderr."""
        done = self.box.run("systemctl", verb, UNIT, check=check)
        return done.returncode, done.stderr

    def shows(self, name: str) -> str:
        """Return a property of the unit."""
        return self.box.show(UNIT, name)

    @property
    def pid(self) -> int:
        """The main process's number in the box; 0: there is none."""
        return int(self.shows("MainPID"))

    @property
    def carrier(self) -> int:
        """The carrier's number in the box."""
        found = self.box.run("pgrep", "--parent", str(self.pid), "--full", "backupd.carrier")
        return int(found.stdout)

    def kill(self, pid: int, signal: str) -> None:
        """Send a signal to one of its processes."""
        self.box.run("kill", f"-{signal}", str(pid))

    def becomes(self, state: str) -> None:
        """Wait until the unit is `active`, `failed`, ..."""
        self.box.until(lambda: self.shows("ActiveState") == state, UNIT)

    def comes_back(self) -> None:
        """Wait until the unit was restarted, and is ready again."""

        def is_back() -> bool:
            return self.shows("NRestarts") != "0" and self.shows("ActiveState") == "active"

        self.box.until(is_back, UNIT)

    # -- files -----------------------------------------------------------------------------------

    def deliver(self, *names: str) -> None:
        """Put whole files into the feed's directory."""
        for name in names:
            self.box.write(f"{INBOX}/{name}", f"id;name\n1;{name}\n")

    def deliver_large(self, name: str, megabytes: int) -> None:
        """Put a large file into the feed's directory, whole."""
        hidden = f"{INBOX}/.{name}"
        self.box.shell(
            f"head -c {megabytes}M /dev/urandom > {hidden} && mv {hidden} {INBOX}/{name}"
        )

    def files(self) -> dict[str, str]:
        """Return `<stage> <status>` by file name, as backupd-admin lists them."""
        shown = self.box.run("backupd-admin", "list", "--json").stdout
        files = [json.loads(line) for line in shown.splitlines()]
        return {file["file_name"]: f"{file['stage']} {file['status']}" for file in files}

    def all_done(self, *names: str) -> None:
        """Wait until these files, and no others, are known and done, each shipped once."""
        wanted = dict.fromkeys(names, "cleanup done")
        self.box.until(lambda: self.files() == wanted, UNIT)
        archive = self.box.path("/var/lib/backupd/archive")
        shipped = {path.name for path in _files(archive)} - {".backupd-id"}
        assert shipped == {f"{name}.gz" for name in names}
        assert not any(_files(self.box.path(INBOX)))

    # -- journal ---------------------------------------------------------------------------------

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the unit's entries, those of systemd about it among them."""
        return self.box.journal(f"--unit={UNIT}", *matches)

    def events(self, *matches: str) -> list[str]:
        """Return the events of our own entries."""
        entries = self.journal(*matches)
        return [entry["BACKUPD_EVENT"] for entry in entries if "BACKUPD_EVENT" in entry]

    def tells(self, event: str, **fields: str) -> dict[str, Any]:
        """Wait for an entry of ours with this event and these fields; return the first one."""
        wanted = {"BACKUPD_EVENT": event} | {f"BACKUPD_{k.upper()}": v for k, v in fields.items()}

        def found() -> list[dict[str, Any]]:
            return [entry for entry in self.journal() if wanted.items() <= entry.items()]

        self.box.until(found, UNIT)
        return found()[0]


def write_paths_line() -> str:
    """Return the docs' command that makes the drop-in."""
    lines = (_REPOSITORY / "docs" / "operations.md").read_text().splitlines()
    start = next(n for n, line in enumerate(lines) if "$(backupd check --write-paths)" in line)
    end = next(n for n in range(start, len(lines)) if not lines[n].strip())
    return "\n".join(lines[start:end])


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def _toml(sections: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    for name, keys in sections.items():
        yield f"[{name}]"
        for key, value in keys.items():
            yield f"{key} = {json.dumps(value)}"
