"""A program whose commands are imported when they are run."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Any

import click

from backupd.cli.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping


class LazyProgram(Program):
    """Imports a command when it is run: `--help` and the shell's completion answer at once.

    `places` has by each command's name where it is, and its line in the list of commands.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's signature
        places: Mapping[str, tuple[str, str]],
        **kwargs: Any,  # noqa: ANN401 - click's signature
    ) -> None:
        super().__init__(*args, **kwargs)
        self._places = places

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order of the help."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command."""
        if cmd_name not in self._places:
            return None
        command = pkgutil.resolve_name(self._places[cmd_name][0])
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._places.items()])
