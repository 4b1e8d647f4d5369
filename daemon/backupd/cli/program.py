"""What holds for both programs, wherever and by whomever they are started."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import click

from backupd.cli.errors import FAILED, fail
from backupd.cli.leaving import leaving
from backupd.core.errors import BackupdError
from backupd.ops import streams, users


class Program(click.Group):
    """A program, called without arguments as one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run it: the same whatever the locale, the user and the standard streams."""
        streams.speak_utf8()
        streams.make_sound()
        users.have_name()
        with leaving() if kwargs.get("standalone_mode", True) else nullcontext():
            try:
                return super().__call__(*args, **kwargs)
            except BackupdError as error:  # such as an answer that could not be written
                fail(error, FAILED)
