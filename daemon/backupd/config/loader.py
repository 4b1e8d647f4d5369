"""Finds and loads a config: reads it by the schema, then judges it as a whole and on this host."""

from __future__ import annotations

import tomllib
from codecs import BOM_UTF8
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backupd.config.alerts import check_alerts
from backupd.config.archive import FileUrl, check_login, secret_files
from backupd.config.build import build, ledger_section
from backupd.config.customers import fill_in_customers
from backupd.config.directories import (
    check_feed_directories,
    check_ledger,
    check_targets,
    directories_to_look_at,
)
from backupd.config.feed_checks import check_feed
from backupd.config.hive import check_hive, check_way_in, idle_keys
from backupd.config.hive_files import read_hive_files
from backupd.config.mistakes import ConfigMistakes, Mistake
from backupd.config.overlap import check_archive_names, check_overlaps, claims
from backupd.config.own_places import check_own_places, own_places
from backupd.config.readers import BadValueError
from backupd.config.report import check_report
from backupd.config.schema import CONFIG, ENVIRONMENT
from backupd.config.secrets import read_secrets, read_smtp_password
from backupd.config.sections import ControlSection
from backupd.config.tables import fill_in, read_table
from backupd.localfs.filesystems import silent
from backupd.localfs.nesting import Mounts

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    from backupd.config.sections import Config, LedgerSection

Values = dict[str, Any]

_ANSWER_WITHIN = 5.0  # seconds, for all directories together


def load(
    path: Path,
    *,
    environ: Mapping[str, str],
    seen: Container[str] = (),
    with_secrets: bool = True,
    document: Values | None = None,
) -> Config:
    """Return the config that is in force with this environment.

    Looks at the directories and secret files that the config names. A directory that is missing
    is no mistake for the feeds in `seen`, which once had it: it is away, as a disk that is not
    mounted. One that does not answer, as on a network file system that hangs, is judged by its path
    alone. Without secrets, for who is to reach nothing by the config, their files are not looked
    at. With a `document`, an earlier config's, that is taken for what the file holds. Raises
    ConfigMistakes with every mistake there is.
    """
    if document is None:
        document = _parse(path)
    return _loaded(document, path, environ, seen, with_secrets=with_secrets)


def mistakes_in(text: str, path: Path, environ: Mapping[str, str]) -> tuple[Mistake, ...]:
    """Return every mistake that a config with this text would have, if it were that file."""
    try:
        _loaded(tomllib.loads(text), path, environ, (), with_secrets=True)
    except ConfigMistakes as found:
        return found.mistakes
    return ()


def _loaded(
    document: Values,
    path: Path,
    environ: Mapping[str, str],
    seen: Container[str],
    *,
    with_secrets: bool,
) -> Config:
    mistakes: list[Mistake] = []
    values = read_table(CONFIG, document, "", mistakes)
    fill_in(CONFIG, values, values)
    values |= _environment(environ, mistakes)
    customers_files = fill_in_customers(values, mistakes)
    unanswered = silent(directories_to_look_at(values), _ANSWER_WITHIN)
    mounts = Mounts(unanswered)
    mistakes += _check(document, values, seen, mounts)
    own = own_places(path.absolute(), values, environ, mounts)
    for file_type, each in values.get("feeds", {}).items():
        mistakes += check_own_places(file_type, each, own, mounts)
    of_secrets = values if with_secrets else {}
    secrets = _secrets(of_secrets, environ, mistakes)
    if mistakes:
        raise ConfigMistakes(mistakes)
    inactive = tuple(_inactive(document, values))
    config = build(values, secrets, inactive, tuple(sorted(unanswered)))
    return replace(config, customers_files=tuple(customers_files), document=document)


def load_places(path: Path) -> tuple[LedgerSection, ControlSection]:
    """Return where the ledger and the daemon's socket are, and judge nothing else.

    For `backupd-admin`, which works with a config that has mistakes, and for users who may not
    read the secret files. Raises ConfigMistakes for mistakes in these two sections.
    """
    document = _parse(path)
    mistakes: list[Mistake] = []
    both = replace(CONFIG, entries={each: CONFIG.entries[each] for each in ("ledger", "control")})
    given = {name: document[name] for name in both.entries if name in document}
    values = read_table(both, given, "", mistakes)
    if mistakes:
        raise ConfigMistakes(mistakes)
    return ledger_section(values["ledger"]), ControlSection(**values["control"])


def _parse(path: Path) -> Values:
    try:
        content = path.read_bytes()
        if not content.startswith(BOM_UTF8):
            return tomllib.loads(content.decode())
        problem, allowed = "begins with a byte order mark (BOM)", "TOML, in UTF-8 without one"
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        allowed = "a file named by --config or $BACKUPD_CONFIG, else /etc/backupd/config.toml"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem, allowed = f"is not UTF-8 text (line {line})", "TOML, in UTF-8"
    except tomllib.TOMLDecodeError as error:
        problem, allowed = f"is not TOML: {error}", "TOML 1.0"
    raise ConfigMistakes([Mistake(str(path), problem, allowed)])


def _inactive(document: Values, values: Values) -> Iterator[str]:
    """Yield the sections and keys that are there and not acted on."""
    given = document.get("warehouse", {})
    if values["warehouse"]["kind"] == "hive":
        yield from (f"warehouse.hive.{name}" for name in idle_keys(given["hive"]))
        return
    yield from (f"warehouse.{name}" for name in ("hive", "impala") if name in given)
    if "kerberos" in document:
        yield "kerberos"


def _environment(environ: Mapping[str, str], mistakes: list[Mistake]) -> Values:
    """Return what $ENV_MODE puts over the config. An empty one is wrong: it may have meant dev."""
    try:
        return {"environment": ENVIRONMENT.reader.read(environ["ENV_MODE"])}
    except KeyError:
        return {}
    except BadValueError as error:
        mistakes.append(Mistake("$ENV_MODE", str(error), ENVIRONMENT.allowed))
        return {}


def _check(
    document: Values, values: Values, seen: Container[str], mounts: Mounts
) -> Iterator[Mistake]:
    """Yield what no key shows by itself: what does not fit together, or does not fit this host."""
    retry, ledger, archive = (values.get(name, {}) for name in ("retry", "ledger", "archive"))
    warehouse = values.get("warehouse", {})
    if retry.keys() >= {"first", "cap"} and retry["first"] > retry["cap"]:
        yield Mistake("retry.cap", "is shorter than retry.first", "at least retry.first")
    if ledger.keys() >= {"keep", "remember"} and ledger["remember"] < ledger["keep"]:
        yield Mistake("ledger.remember", "is shorter than ledger.keep", "at least ledger.keep")
    if "url" in ledger:
        yield from check_ledger(ledger["url"])
    yield from check_login(archive)
    if warehouse.get("kind") == "hive" and "hive" in warehouse:
        yield from check_hive(warehouse["hive"])
        yield from check_way_in("warehouse.impala", warehouse.get("impala") or {})
    yield from check_alerts(values.get("alerts") or {})
    yield from check_report(values.get("report"), values.get("alerts", {}))
    feeds = values.get("feeds", {})
    yield from _check_feeds(document, values, seen, mounts)
    everyone = [
        claim for file_type in feeds for claim in claims(file_type, feeds[file_type], mounts)
    ]
    yield from check_overlaps(everyone)
    compress = archive.get("compression") == "gzip"
    yield from check_archive_names(everyone, archive.get("url"), mounts, compress=compress)


def _check_feeds(
    document: Values, values: Values, seen: Container[str], mounts: Mounts
) -> Iterator[Mistake]:
    url = values.get("archive", {}).get("url")
    for file_type, feed in values.get("feeds", {}).items():
        yield from check_feed(f"feeds.{file_type}", document["feeds"][file_type], feed)
        yield from check_feed_directories(file_type, feed, seen, mounts)
        if isinstance(url, FileUrl):
            yield from check_targets(url.root, file_type, feed, mounts)


def _secrets(values: Values, environ: Mapping[str, str], mistakes: list[Mistake]) -> Values:
    in_use = secret_files(values.get("archive", {}))
    return {
        "archive": read_secrets(in_use, environ, mistakes),
        "hive": read_hive_files(values, environ, mistakes),
        "smtp_password": read_smtp_password(values.get("alerts") or {}, environ, mistakes),
    }


SYSTEM_CONFIG = Path("/etc/backupd/config.toml")


def find(explicit: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the path of the config: `--config`, $BACKUPD_CONFIG, /etc/backupd, or ./config.toml.

    The first one that is named or exists is taken, readable or not: `load` reports what is wrong.
    """
    if explicit is not None:
        return explicit
    if environ.get("BACKUPD_CONFIG"):
        return Path(environ["BACKUPD_CONFIG"])
    return SYSTEM_CONFIG if _may_be_there(SYSTEM_CONFIG) else Path("config.toml").absolute()


def _may_be_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return True  # a directory that may not be entered: using another file would surprise
