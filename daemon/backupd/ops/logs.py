"""Logs: entries in systemd's journal, readable lines on a terminal, JSON lines elsewhere.

The lines go to stderr: stdout is for answers.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, TextIO, cast

import structlog

from backupd.ops import journal
from backupd.ops.output import Output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from structlog.typing import Processor


def set_up(level: int = logging.INFO) -> None:
    """Send the project's and the libraries' logs to the same place, in one form."""
    if journal.is_stderr(os.environ):
        chain: Sequence[Processor] = (
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
        )
        put = _journal().put
        _configure(chain, lambda *_: journal.JournalLogger(put), level)
        handler: logging.Handler = journal.JournalHandler(put)
    else:
        handler = _set_up_lines(level)
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # asyncssh logs every connection and channel at INFO: what matters of it we log ourselves.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


@cache
def _journal() -> Output:
    return Output(journal.Journal())


def _set_up_lines(level: int) -> logging.Handler:
    """Send our own lines to stderr; return what does so with the libraries'."""
    chain: Sequence[Processor] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )
    renderers = _renderers(terminal=sys.stderr.isatty())
    _configure((*chain, *renderers), structlog.WriteLoggerFactory(file=_stderr()), level)
    handler = logging.StreamHandler(_stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    return handler


def _configure(
    processors: Sequence[Processor], factory: structlog.typing.WrappedLogger, level: int
) -> None:
    # Our own lines do not go through `logging`: several are written for every file, and that way
    # takes three times as long.
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )


def _stderr() -> TextIO:
    return cast("TextIO", _Stderr())


class _Stderr:
    """Writes to whatever `sys.stderr` is at the moment: progress bars put their own there."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _renderers(*, terminal: bool) -> list[Processor]:
    if terminal:
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]


# Made once: `json.dumps` makes one for each line.
_ENCODER = json.JSONEncoder(default=repr)


def _json(line: object, **_: object) -> str:
    return _ENCODER.encode(line)
