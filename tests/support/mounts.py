"""Real mounts, by root."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def mounting() -> Iterator[Callable[..., None]]:
    """Yield what mounts by the arguments of mount(8), the mount point last; undo it at the end."""
    with ExitStack() as stack:

        def mount(*arguments: object) -> None:
            subprocess.run(["mount", *map(str, arguments)], check=True)
            stack.callback(subprocess.run, ["umount", str(arguments[-1])], check=True)

        yield mount
