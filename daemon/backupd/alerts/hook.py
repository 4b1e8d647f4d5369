"""Runs the hook program: JSON on its standard input, no shell, no argument, a time limit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from backupd.core.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TIME_LIMIT = 30.0  # seconds
_INHERITED = ("PATH", "HOME", "LANG", "TZ")  # nothing that may name a secret
_SHOWN = 200  # characters of what it says when it fails


async def run_hook(program: Path, payload: Mapping[str, Any]) -> str:
    """Run it and return how it ended, in words. Raises TransientError when it failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
            start_new_session=True,  # so that what it started can be ended with it
        )
    except OSError as error:
        raise TransientError(f"cannot run {program}: {error.strerror}") from error
    try:
        async with asyncio.timeout(TIME_LIMIT):
            _, said = await process.communicate(json.dumps(payload).encode() + b"\n")
    except TimeoutError:
        raise TransientError(f"{program} did not end within {TIME_LIMIT:.0f} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        words = " ".join(said.decode(errors="replace").split())[:_SHOWN]
        raise TransientError(f"{program} ended with {process.returncode}: {words}")
    return "ended with 0"
