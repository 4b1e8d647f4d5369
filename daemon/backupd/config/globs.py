"""Finds out whether file name patterns can match the same name, exactly as `fnmatch` matches.

A pattern is treated as a small automaton: state n means "n steps of the pattern are matched". All
patterns walk together, breadth first, over one letter of every kind that they can distinguish; the
first walk that ends in all of them spells the shortest name.
"""

from __future__ import annotations

import fnmatch
import glob
import re
import string
import sys
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# A `[` without its `]` stands for itself. The possessive `+`: a `]` that comes first is a member.
_ELEMENT = re.compile(r"\*|\[!?+\]?+[^\]]*+\]|.", re.DOTALL)
_VISIBLE = "[!.]*"
_Walk = tuple[tuple[int, ...], tuple[str, ...]]  # each glob's state; how far each ending has come
_READABLE = string.digits + string.ascii_letters


def common_name(patterns: Collection[str], endings: Collection[str] = ()) -> str | None:
    """Return the shortest visible name that matches all patterns and has none of the endings.

    None: there is no such name. How long a name may be on disk is not looked at.
    """
    letters = _letters("".join([*patterns, *endings]))
    globs = [_Glob.parse(pattern, letters) for pattern in (*patterns, _VISIBLE)]
    start: _Walk = ((0,) * len(globs), ("",) * len(endings))
    names = {start: ""}
    queue = [start]
    for walk in queue:  # grows while it is walked
        for letter in letters:
            for longer in _steps(walk, letter, globs, endings):
                if longer not in names:
                    names[longer] = names[walk] + letter
                    queue.append(longer)
                    if _arrived(longer, globs, endings):
                        return names[longer]
    return None


def companion_pattern(pattern: str, suffix: str) -> str:
    """Return a pattern for the companions of the files that `pattern` matches.

    Where the pattern leaves the extension open, it matches some more names than those.
    """
    stem, dot, extension = pattern.rpartition(".")
    if not dot or set(extension) & set("*?[]"):
        stem = re.split(r"[*?\[]", pattern, maxsplit=1)[0] + "*"
    return stem + glob.escape(suffix)


@cache
def without_ending(pattern: str, ending: str) -> frozenset[str]:
    """Return patterns of which one matches a name exactly where `pattern` matches it + `ending`."""
    return frozenset("".join(each) for each in _without(_ELEMENT.findall(pattern), ending))


def _without(elements: list[str], ending: str) -> Iterator[list[str]]:
    if not ending:
        yield elements
    elif elements and elements[-1] == "*":
        yield from _without(elements, ending[:-1])
        yield from _without(elements[:-1], ending)
    elif elements and fnmatch.fnmatchcase(ending[-1], elements[-1]):
        yield from _without(elements[:-1], ending[:-1])


@dataclass(frozen=True, slots=True)
class _Glob:
    steps: tuple[frozenset[str], ...]  # the letters that lead from state n to n + 1
    stars: frozenset[int]  # the states in which any letter may also be passed over

    @classmethod
    def parse(cls, pattern: str, letters: tuple[str, ...]) -> _Glob:
        steps: list[frozenset[str]] = []
        stars = set()
        for element in _ELEMENT.findall(pattern):
            if element == "*":
                stars.add(len(steps))
            elif len(element) == 1 and element != "?":
                steps.append(frozenset(element))
            else:
                matches = re.compile(fnmatch.translate(element)).match
                steps.append(frozenset(filter(matches, letters)))
        return cls(tuple(steps), frozenset(stars))

    def after(self, state: int, letter: str) -> list[int]:
        """Return the states that a letter leads to."""
        reached = [state] if state in self.stars else []
        if state < len(self.steps) and letter in self.steps[state]:
            reached.append(state + 1)
        return reached


def _steps(
    walk: _Walk, letter: str, globs: Collection[_Glob], endings: Collection[str]
) -> Iterator[_Walk]:
    places, tails = walk
    tails = tuple(map(_tail, endings, (tail + letter for tail in tails)))
    reached = [each.after(place, letter) for each, place in zip(globs, places, strict=True)]
    return ((places, tails) for places in product(*reached))


def _arrived(walk: _Walk, globs: Collection[_Glob], endings: Collection[str]) -> bool:
    places, tails = walk
    matched = all(place == len(each.steps) for each, place in zip(globs, places, strict=True))
    return matched and not any(map(str.__eq__, endings, tails))


def _letters(text: str) -> tuple[str, ...]:
    """Return one letter of each kind that patterns of these characters can distinguish.

    A pattern names single characters, and ranges between two characters that it contains. So a
    border can only run just before or just after one of them. A name holds neither "/" nor NUL.
    """
    borders = {1} | {ord(letter) + after for letter in text + "/" for after in (0, 1)}
    starts = sorted(border for border in borders if 0 < border <= sys.maxunicode)
    kinds = pairwise([*starts, sys.maxunicode + 1])
    return tuple(sorted({_readable(first, end) for first, end in kinds} - {"/"}, key=_plainness))


def _readable(first: int, end: int) -> str:
    return next((each for each in _READABLE if first <= ord(each) < end), chr(first))


def _plainness(letter: str) -> tuple[bool, str]:
    return not letter.isalnum(), letter


def _tail(ending: str, text: str) -> str:
    """Return the longest end of `text` with which `ending` begins: how far the ending has come."""
    return next(text[at:] for at in range(len(text) + 1) if ending.startswith(text[at:]))
