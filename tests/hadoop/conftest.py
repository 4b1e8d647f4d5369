"""The tests here run on plain servers and on secured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.hadoop import Hadoop


@pytest.fixture(params=["plain_hadoop", "secure_hadoop"])
def hadoop(request: pytest.FixtureRequest) -> Hadoop:
    """A real HDFS and HiveServer2, with and without Kerberos and TLS."""
    stack: Hadoop = request.getfixturevalue(request.param)
    return stack
