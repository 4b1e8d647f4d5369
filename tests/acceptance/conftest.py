"""What holds for every test of the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.prepared import programs_prepared

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def _programs_prepared() -> Iterator[None]:
    with programs_prepared():
        yield
