"""Where a demo lives: a directory with a config of its own, and all that this config names."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from backupd.config import load
from backupd.core.errors import BackupdError
from backupd.core.names import refusal

if TYPE_CHECKING:
    from backupd.config.sections import Config

_LONGEST_SOCKET = 107  # bytes of a path: unix(7), sun_path without its final NUL

_CONFIG = r"""# Made by `backupd demo`. `backupd run --config` with it goes on where that ended.
environment = "prod"

[ledger]
url = "sqlite:///@DIR@/ledger.db"

[intake]
settle_for = "1s"                # short, so that the demo is: the default is 5s

[batch]
max_files = 100
max_wait = "1s"                  # likewise: the default is 30s, and 10m for Hive

[warehouse.embedded]
root = "@DIR@/warehouse"

[archive]
url = "file://@URL@/archive"     # in earnest: "sftp://mnaas@edge2.example/backup1/MNAAS"

[control]
socket = "@DIR@/control.sock"

[feeds.traffic]                  # beside each file its checksum, written last
customers = ["eLUX", "SKYROAM", "NORDTEL"]
directory = "@DIR@/feeds/{customer}/traffic"
pattern = "{customer}_*.csv"
timestamp_regex = '_(\d{14})_'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
companion_suffix = ".cksum"
companion_algorithm = "cksum"
companion_required = true

[feeds.tolling]                  # delivered compressed, without checksums
customers = ["eLUX", "SKYROAM"]
directory = "@DIR@/feeds/{customer}/tolling"
pattern = "{customer}_*.csv.gz"
timestamp_regex = '_(\d{8}T\d{4})_'
timestamp_format = "%Y%m%dT%H%M"
header_lines = 1

[feeds.actives]                  # no header line
customers = ["eLUX", "SKYROAM", "NORDTEL"]
directory = "@DIR@/feeds/{customer}/actives"
pattern = "{customer}-ACTIVES-*.csv"
timestamp_regex = '-(\d{8})-'
timestamp_format = "%Y%m%d"
header_lines = 0

[feeds.activations]
customers = ["eLUX", "NORDTEL"]
directory = "@DIR@/feeds/{customer}/activations"
pattern = "{customer}_*.csv"
timestamp_regex = '_(\d{14})_'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
companion_suffix = ".SEM"
companion_algorithm = "md5"
companion_required = true

[feeds.sim_inventory]            # in sub-directories, which the archive has as well
customers = ["SKYROAM", "NORDTEL"]
directory = "@DIR@/feeds/{customer}/sim_inventory"
pattern = "{customer}_*.csv"
timestamp_regex = '_(\d{14})_'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1
recursive = true
companion_suffix = ".sha256"
companion_algorithm = "sha256"
companion_required = true

[feeds.roaming]                  # the numbers in its names go on: one of them never comes
customers = ["eLUX"]
directory = "@DIR@/feeds/{customer}/roaming"
pattern = "{customer}_*.csv"
timestamp_regex = '_(\d{14})_'
timestamp_format = "%Y%m%d%H%M%S"
header_lines = 1

[feeds.roaming.expect]
every = "5s"                     # in earnest: "20m"
sequence_regex = '_(\d{6})\.csv$'
sequence_wait = "1s"             # likewise: the default is 15m
"""


def prepare(directory: Path | None) -> tuple[Path, Config]:
    """Make the demo's directory (a new temporary one for None) and the config in it.

    Returns the config's path and the config. Raises BackupdError where the directory is not to be
    used, ConfigMistakes where its name is one that no config can hold.
    """
    root = Path(tempfile.mkdtemp(prefix="backupd-demo-")) if directory is None else _own(directory)
    path, text = root / "config.toml", _config_text(root)
    try:
        for feed in tomllib.loads(text)["feeds"].values():
            for customer in feed["customers"]:
                Path(feed["directory"].replace("{customer}", customer)).mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unusable(root, error) from error
    # Without $ENV_MODE: "dev" would skip what the demo is there to show.
    return path, load(path, environ={})


def _own(directory: Path) -> Path:
    """Make the directory unless it is there; never put anything among what others put there."""
    root = directory.absolute()
    if problem := refusal(str(root)):
        raise BackupdError(f"{problem}: name another directory")
    if len(os.fsencode(root / "control.sock")) > _LONGEST_SOCKET:
        raise BackupdError(
            f"{root} is too long a name: the control socket in it could not be reached",
            hint=f"a socket's path has {_LONGEST_SOCKET} bytes at most; name a shorter directory",
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        taken = any(root.iterdir())
    except OSError as error:
        raise _unusable(root, error) from error
    if taken:
        raise BackupdError(
            f"{root} is not empty, and the demo touches nothing that is not its own",
            hint="name a new directory, or remove this one",
        )
    return root


def _unusable(root: Path, error: OSError) -> BackupdError:
    return BackupdError(
        f"{root} cannot be used: {error.strerror}", hint="name another directory with --dir"
    )


def _config_text(root: Path) -> str:
    in_quotes = json.dumps(str(root), ensure_ascii=False)[1:-1]  # TOML escapes as JSON does
    return _CONFIG.replace("@DIR@", in_quotes).replace("@URL@", quote(str(root)))
