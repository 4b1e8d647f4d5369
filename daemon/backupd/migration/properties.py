"""What the variables of the old job's properties mean, by their names.

Names differ by installation. Each meaning has the names that are known, then patterns of names; the
first of them that a variable has is taken.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backupd.migration.declarations import Value

NAMES: dict[str, tuple[str, ...]] = {
    "environment": ("ENV_MODE",),
    "files at once": ("No_of_files_to_process",),
    "archive host": ("edge2node", "edgenode2", "MNAAS_edge_server_name", "backup_server"),
    "archive user": ("MNAAS_edge2_user_name", ".*edge(node)?2.*user.*"),
    "archive root": ("MNAAS_edge2_backup_path", ".*edge(node)?2_(backup_)?(path|root)"),
    "archive directories": ("MNAAS_backup_files_edgenode2_backup_dir", ".*edgenode2_backup_dir"),
    "customers' archive directories": (
        "MNAAS_edge2_customer_backup_dir",
        ".*edge(node)?2_customer_.*dir",
    ),
    "home": ("HOME",),
    "user": ("USER", "LOGNAME"),
    "database": ("dbname", ".*(db|database)_?name"),
    "staging table": (
        "customers_files_inter_record_count_tblname",
        ".*(inter|temp|tmp|staging).*(tbl|table)_?(name)?",
    ),
    "production table": (
        "customers_files_records_count_tblname",
        ".*records?_count_(tbl|table)_?(name)?",
        ".*(prod|production|main).*(tbl|table)_?(name)?",
    ),
    "HDFS folder": (
        "MNAAS_Customer_backup_filename_hdfs_customer",
        ".*backup.*hdfs.*",
        ".*hdfs.*(staging|path|dir|folder).*",
    ),
    "NameNode": (".*name_?node.*",),
    "HiveServer2": ("(.*_)?hive.*(host|server|jdbc|url).*",),
    "Impala": ("IMPALAD_HOST", ".*impala.*host.*"),
    "sender": ("SDP_ticket_from_email", ".*from_?e?mail.*"),
    "ticket mailbox": ("SDP_Receipient_List", ".*SDP.*recei?pient.*"),
    "recipients": ("MOVE_DEV_TEAM", ".*(e?mail|recei?pient)s?(_?(list|to|ids?))?"),
    "status file": (
        "MNAAS_Customer_backup_files_process_ProcessStatusFileName",
        ".*backup.*process_?status_?file_?(name)?",
        ".*(process_?)?status_?file_?(name)?",
    ),
    "companion suffix": (
        "(.*_)?(ck|cksum|checksum|sem|semaphore)_?(file)?_?(ext|extn|extension|suffix)",
    ),
    "patterns": ("MNAAS_backup_files_process_file_pattern", ".*file_pattern"),
    "directories": ("MNAAS_backup_files_process_backup_dir", ".*process_backup_dir"),
    "customers of feeds": ("FEED_CUSTOMER_MAPPING",),
    "customers": ("customer_names", "customers?(_list)?"),
    "customers file": ("MNAAS_Create_New_Customers", ".*customers?_file"),
}  # fmt: skip

NOT_NEEDED: dict[str, str] = {
    ".*(passw|pwd|secret|token|credential|private_?key).*": "may be a secret: put it into a file"
    " that only backupd's user can read, and name that file in a key that ends in _file",
    ".*status_?flag": "the stage at work is in backupd's own status file",
    ".*log_?(path|file|dir|name).*": "backupd logs to the journal",
    ".*(process_filename|manifest|backup_filename).*": "there is no manifest file: `backupd-admin"
    " batch BATCH_ID --manifest` shows what was loaded",
    ".*(delim|separator|field_sep).*": "rows do not pass through a delimited file of the job's own",
    ".*(script_?name|setparameter).*": "it is about the old job's own script",
    ".*retention.*": "what is removed on the archive's host stays with the job there",
    ".*refresh.*": "backupd sends its own REFRESH",
}
"""Why variables with such names have no key."""

_SHELLS_OWN = re.compile(
    r"BASH.*|COLUMNS|COMP_.*|DIRSTACK|EPOCH.*|EUID|FUNCNAME|GROUPS|HIST.*|HOST.*|IFS|LINENO|LINES"
    r"|MACHTYPE|MAIL.*|OLDPWD|OPT(ARG|ERR|IND)|OSTYPE|PATH|PIPESTATUS|PPID|PS[0-4]|PWD|S?RANDOM"
    r"|READLINE_.*|REPLY|SECONDS|SHELL|SHELLOPTS|SHLVL|TERM.*|TIMEFORMAT|UID|_"
    r"|HOME|USER|LOGNAME|LANG(UAGE)?|LC_.*|LS_COLORS|LESS.*|EDITOR|VISUAL|PAGER|DISPLAY|SSH_.*"
    r"|SUDO_.*|XDG_.*|DBUS_.*|INVOCATION_ID|JOURNAL_STREAM|TZ|COLORTERM|DEBIAN_FRONTEND"
    r"|TMPDIR|MOTD_SHOWN|GPG_.*|VIRTUAL_ENV.*|PYTHON.*|BACKUPD_.*"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """The value of a variable that is no array."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Array:
    """An array: its texts by their keys."""

    name: str
    items: Mapping[str, str]


@dataclass
class Properties:
    """The variables of the old job. What was asked for is remembered in `taken`, by its meaning."""

    values: Mapping[str, Value]
    taken: dict[str, str] = field(default_factory=dict)

    def text(self, meaning: str) -> Text | None:
        """Return the variable with this meaning. Empty ones count as not there."""
        name, value = self._find(meaning, str)
        return Text(name=name, value=value.strip()) if isinstance(value, str) else None

    def array(self, meaning: str) -> Array | None:
        """Return the array with this meaning."""
        name, value = self._find(meaning, dict)
        if not isinstance(value, dict):
            return None
        return Array(name=name, items={key.strip(): each.strip() for key, each in value.items()})

    def unused(self) -> dict[str, list[str]]:
        """Return the variables that nobody asked for, by why there is no key for them."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.values):
            if name not in self.taken.values() and not _SHELLS_OWN.fullmatch(name):
                found.setdefault(self._why_not_needed(name), []).append(name)
        return found

    def of_windows(self) -> list[str]:
        """Return the variables that end in a carriage return, which is left out of all values."""
        return [
            name
            for name in sorted(self.values)
            if any(each.endswith("\r") for each in _texts(self.values[name]))
        ]

    def _find(self, meaning: str, kind: type) -> tuple[str, Value | None]:
        for pattern in NAMES[meaning]:
            for name, value in self.values.items():
                if not (isinstance(value, kind) and any(map(str.strip, _texts(value)))):
                    continue
                is_free = name not in self.taken.values() or self.taken.get(meaning) == name
                if is_free and (name == pattern or _may_mean(name, pattern)):
                    self.taken[meaning] = name
                    return name, value
        return "", None

    def _why_not_needed(self, name: str) -> str:
        for pattern, why in NOT_NEEDED.items():
            if _is_like(name, pattern):
                return why
        for meaning, taken in self.taken.items():
            if any(_is_like(name, pattern) for pattern in NAMES[meaning]):
                return f"{taken} was taken for the {meaning}"
        return "nothing in backupd corresponds to it"


def _texts(value: Value) -> Iterable[str]:
    return [value] if isinstance(value, str) else value.values()


def _may_mean(name: str, pattern: str) -> bool:
    """Return whether a variable may have that meaning, whose name is not known."""
    is_others = _SHELLS_OWN.fullmatch(name) or any(_is_like(name, each) for each in NOT_NEEDED)
    return _is_like(name, pattern) and not is_others


def _is_like(name: str, pattern: str) -> bool:
    return re.fullmatch(pattern, name, re.IGNORECASE) is not None
