"""The keys of `[feeds.<file type>.expect]`: how they are read, and how they fit together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backupd.completeness.dates import DAY, day_from
from backupd.completeness.expectations import (
    EVERY_WEEKDAY,
    USUAL_BY,
    USUAL_WAIT,
    Bounds,
    Expectations,
    Resets,
    SequenceRule,
)
from backupd.completeness.words import WEEKDAYS
from backupd.config.mistakes import Mistake
from backupd.config.readers import (
    SWITCH,
    TIME_OF_DAY,
    TIME_ZONE,
    BadValueError,
    Key,
    Reader,
    choice,
    duration,
    expect,
    integer,
    plain_text,
    texts,
)
from backupd.config.tables import NamedTables, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MOST = 10**15
_OF_SEQUENCE = ("sequence_wraps_at", "sequence_resets", "sequence_wait")
_WHAT = (
    "every",
    "files",
    "sequence_regex",
    "records",
    "bytes",
    "records_a_day",
    "bytes_a_day",
    "trend",
)  # each of these expects something; the others say when, or how


def _bounds(value: object) -> Bounds:
    """Read a number, or a table with `min`, `max` or both."""
    if not isinstance(value, dict):
        number = _number(value)
        return Bounds(least=number, most=number)
    if not value or set(value) - {"min", "max"}:
        raise BadValueError("has other keys than min and max" if value else "is an empty table")
    least, most = (_number(value[name]) if name in value else None for name in ("min", "max"))
    if least is not None and most is not None and least > most:
        raise BadValueError(f"has a min of {least}, which is more than its max of {most}")
    return Bounds(least=least, most=most)


def _number(value: object) -> int:
    number = expect(value, int)
    if not 0 <= number <= _MOST:
        raise BadValueError(f"is {number}, which is out of range")
    return number


def _weekdays(value: object) -> frozenset[int]:
    names = texts(value)
    if unknown := [name for name in names if name not in WEEKDAYS]:
        raise BadValueError(f"has {unknown[0]!r}")
    return frozenset(map(WEEKDAYS.index, names))


def _dates(value: object) -> frozenset[int]:
    return frozenset(_date(text) for text in texts(value))


def _date(text: str) -> int:
    try:
        if _DATE.fullmatch(text):
            return day_from(text)
    except ValueError:
        pass
    raise BadValueError(f"has {text!r}")


def _sequence_regex(value: object) -> str:
    text = plain_text(value)
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise BadValueError(f"is not a valid regular expression: {error}") from error
    groups = pattern.groups - ("source" in pattern.groupindex)
    if groups != 1:
        raise BadValueError(f"has {groups} groups beside source")
    return text


_BOUNDS = Reader(_bounds, "a whole number, or { min = ..., max = ... } with one or both")

_KEYS: dict[str, Key] = {
    "every": Key(
        duration(at_least="1s"),
        "No longer pause between two files than this, {allowed}, up to 30d.",
        default=None,
        example="15m",
    ),
    "files": Key(
        _BOUNDS,
        """
        So many files of each date: a number, or { min = 90, max = 100 } with one or both. A file's
        date is the day (UTC) of the time in its name, as in the production table.
        """,
        default=None,
        example=96,
    ),
    "by": Key(
        TIME_OF_DAY,
        """
        When a date is due: at this time of the next day, in time_zone. Until then nothing is
        missing. "06:00" if left out.
        """,
        default=None,
        example="06:30",
    ),
    "time_zone": Key(
        TIME_ZONE,
        'Whose clock `by` is on. "UTC" if left out.',
        default=None,
        example="Europe/Amsterdam",
    ),
    "weekdays": Key(
        Reader(_weekdays, f"a list of {', '.join(WEEKDAYS)}"),
        "Dates on other weekdays need nothing. All if left out.",
        default=None,
        example=["mon", "tue", "wed", "thu", "fri"],
    ),
    "except": Key(
        Reader(_dates, "a list of dates such as 2026-12-25, in quotes"),
        "These dates need nothing either.",
        default=None,
        example=["2026-12-25"],
    ),
    "sequence_regex": Key(
        Reader(
            _sequence_regex,
            "a regular expression with one group for the number, and another named source or none",
        ),
        r"""
        The number in a file's name: files with numbers that are left out are missed. A second
        group, (?P<source>...), has numbers of its own for each of its texts:
        '_(?P<source>HOL_\d+)_\d{14}_(\d{6})\.csv$'.
        """,
        default=None,
        example=r"_(\d{6})\.csv$",
    ),
    "sequence_wraps_at": Key(
        integer(1, _MOST), "The last number; behind it comes 0 or 1.", default=None, example=999_999
    ),
    "sequence_resets": Key(
        choice(Resets),
        '{allowed}. "daily": the numbers of each date begin anew. "never" if left out.',
        default=None,
        example="never",
    ),
    "sequence_wait": Key(
        duration(),
        'So long a number may come after the ones behind it. "15m" if left out.',
        default=None,
        example="15m",
    ),
    "records": Key(
        _BOUNDS, "Records in each file: as for files.", default=None, example={"min": 1}
    ),
    "bytes": Key(_BOUNDS, "The same of its bytes.", default=None, example={"min": 1}),
    "records_a_day": Key(
        _BOUNDS, "Records of a date, once it is due.", default=None, example={"min": 1000}
    ),
    "bytes_a_day": Key(_BOUNDS, "The same of bytes.", default=None, example={"min": 100_000}),
    "trend": Key(
        SWITCH,
        """
        true: a date is unusual that has less than half, or more than twice, the records that are
        usual on its weekday, and none of the last six weeks was like that; and so is an hour by
        its files. It takes three weeks to learn.
        """,
        default=None,
        example=True,
    ),
}

EXPECT = Table(
    """
    What ought to come, so that you are notified of what did not: all of it may be left out, all of
    it goes together. docs/completeness.md has examples.
    """,
    {
        **_KEYS,
        "customer": NamedTables(
            Table("What is otherwise for one customer: any of these keys.", _KEYS, optional=True),
            "sections [feeds.<file type>.expect.customer.<customer>]",
            examples={"eLUX": {"files": {"min": 90, "max": 100}}},
            commented=frozenset(),
            optional=True,
        ),
    },
    optional=True,
)


def expectations_of(customer: str, values: Mapping[str, Any]) -> Expectations | None:
    """Return what is expected of a customer's feed; None: nothing. `values` are a feed's."""
    section = values.get("expect")
    merged = _merged(section, customer) if section is not None else {}
    return _expectations(merged) if any(merged.get(name) for name in _WHAT) else None


def check_expect(
    key: str, given: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[Mistake]:
    """Yield what contradicts itself in a feed's expectations: `given` in the file, and as read."""
    section = values.get("expect")
    if not isinstance(section, dict):
        return
    own, customers = f"{key}.expect", section.get("customer") or {}
    if not customers:
        yield from _check_any(own, section, given["expect"])
    yield from _check(own, section, given["expect"])
    for customer in customers:
        at = f"{own}.customer.{customer}"
        if _is_unknown(customer, values):
            yield Mistake(at, "is for a customer that customers does not have", "a customer")
        merged, its_own = _merged(section, customer), given["expect"]["customer"][customer]
        yield from _check_any(at, merged, its_own)
        yield from _check(at, merged, its_own)


def _is_unknown(customer: str, values: Mapping[str, Any]) -> bool:
    """Those in a file may come later."""
    is_listed = "customers" in values and not values.get("customers_file")
    return is_listed and customer not in values["customers"]


def _merged(section: Mapping[str, Any], customer: str) -> dict[str, Any]:
    general = {name: section.get(name) for name in _KEYS}
    own = (section.get("customer") or {}).get(customer, {})
    return general | {name: value for name, value in own.items() if value is not None}


def _expectations(values: Mapping[str, Any]) -> Expectations:
    return Expectations(
        every=values["every"],
        files=values["files"],
        by=USUAL_BY if values["by"] is None else values["by"],
        time_zone=values["time_zone"] or "UTC",
        weekdays=values["weekdays"] or EVERY_WEEKDAY,
        excepted=values["except"] or frozenset(),
        sequence=_sequence(values),
        records=values["records"],
        size=values["bytes"],
        records_a_day=values["records_a_day"],
        bytes_a_day=values["bytes_a_day"],
        trend=bool(values["trend"]),
    )


def _sequence(values: Mapping[str, Any]) -> SequenceRule | None:
    if values["sequence_regex"] is None:
        return None
    wait = values["sequence_wait"]
    return SequenceRule(
        regex=values["sequence_regex"],
        wraps_at=values["sequence_wraps_at"],
        resets=values["sequence_resets"] or "never",
        wait=USUAL_WAIT if wait is None else wait,
    )


# -- what contradicts itself ---------------------------------------------------------------------


def _check_any(key: str, values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Mistake]:
    if not any(values.get(name) or name in given for name in _WHAT):
        yield Mistake(key, "expects nothing", f"one or more of {', '.join(_WHAT)}")


def _check(key: str, values: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Mistake]:
    """Judge `values`, as they hold together; `given` are those that this very section has."""
    for name in _OF_SEQUENCE:
        if name in given and values.get("sequence_regex", "") is None:
            problem = "is given without sequence_regex"
            yield Mistake(f"{key}.{name}", problem, "both or sequence_regex too")
    yield from _check_every(key, values)
    for what in ("records", "bytes"):
        yield from _check_sums(key, values, what)


def _check_every(key: str, values: Mapping[str, Any]) -> Iterator[Mistake]:
    every, files = values.get("every"), values.get("files")
    if every is None:
        return
    if every > 30 * DAY:
        yield Mistake(f"{key}.every", "is longer than 30d", "up to 30d")
    least = int(DAY // every) - 1  # the first and the last pause reach into other dates
    if files and files.most is not None and files.most < least:
        problem = f"allows {files.most} files a date, of which `every` needs {least}"
        yield Mistake(f"{key}.files", problem, "a larger max, or a longer `every`")


def _check_sums(key: str, values: Mapping[str, Any], what: str) -> Iterator[Mistake]:
    """Compare what each file holds with what a date holds in all."""
    files, each, day = (values.get(name) for name in ("files", what, f"{what}_a_day"))
    if not (files and each and day):
        return
    of_all = _product(files.least, each.least), _product(files.most, each.most)
    if day.most is not None and of_all[0] is not None and of_all[0] > day.most:
        problem = f"is at most {day.most}, where the files have {of_all[0]} at least"
        yield Mistake(f"{key}.{what}_a_day", problem, f"what files and {what} allow")
    if day.least is not None and of_all[1] is not None and of_all[1] < day.least:
        problem = f"is at least {day.least}, where the files have {of_all[1]} at most"
        yield Mistake(f"{key}.{what}_a_day", problem, f"what files and {what} allow")


def _product(files: int | None, each: int | None) -> int | None:
    return None if files is None or each is None else files * each
