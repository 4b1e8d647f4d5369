"""What is wrong with a config, as an operator reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.errors import BackupdError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. Never holds a secret.

    `key` is dotted (`feeds.traffic.pattern`), a `$VARIABLE` or a file; `problem` reads on from it
    ("is empty"); `allowed` says what would be right.
    """

    key: str
    problem: str
    allowed: str

    def __str__(self) -> str:
        """Return the whole mistake as one line."""
        return f"{self.key} {self.problem} (allowed: {self.allowed})"


class ConfigMistakes(BackupdError):  # noqa: N818  it holds several mistakes and is named for them
    """The config cannot be used. `mistakes` are all there are, in the order of the schema."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = tuple(mistakes)
