"""Logs: readable lines on a terminal, JSON lines elsewhere. On stderr: stdout is for answers."""

from __future__ import annotations

import json
import logging
import sys
from typing import TextIO, cast

import structlog


def set_up(level: int = logging.INFO) -> None:
    """Send the project's and the libraries' logs to stderr in one form."""
    terminal = sys.stderr.isatty()
    chain: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Our own lines go straight to stderr: several are written for every file, and the way through
    # `logging` takes three times as long.
    structlog.configure(
        processors=[*chain, *_renderers(terminal=terminal)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=_stderr()),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(_stderr())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=chain,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(terminal=terminal),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # asyncssh tells every connection and channel at INFO: what matters of it we tell ourselves.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)


def _stderr() -> TextIO:
    return cast("TextIO", _Stderr())


class _Stderr:
    """Writes to whatever `sys.stderr` is at the moment: progress bars put their own there."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _renderers(*, terminal: bool) -> list[structlog.typing.Processor]:
    if terminal:
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_json)]


# Made once: `json.dumps` makes one for each line.
_ENCODER = json.JSONEncoder(default=repr)


def _json(line: object, **_: object) -> str:
    return _ENCODER.encode(line)
