"""How much memory something takes."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Taken:
    """Bytes that Python had in use at most, and that stayed in use, beyond those before."""

    peak = 0
    kept = 0


@contextmanager
def measured() -> Iterator[Taken]:
    """Measure what the block takes; the answer is there once it is left."""
    taken = Taken()
    gc.collect()
    tracemalloc.start()
    try:
        yield taken
        gc.collect()
        taken.kept, taken.peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
