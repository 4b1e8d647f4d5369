"""What is made in place of something else is for the same users."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

from backupd.localfs.likeness import make_alike

if TYPE_CHECKING:
    from pathlib import Path

ACCESS = "system.posix_acl_access"
SOMEBODY = 12345


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """As acl(5) has it in the kernel: tag, permissions, id of each."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY_ELSE = 0xFFFFFFFF
LIST = access_list(
    (0x01, 6, NOBODY_ELSE),  # its owner
    (0x02, 4, SOMEBODY),  # this user
    (0x04, 0, NOBODY_ELSE),  # its group
    (0x10, 4, NOBODY_ELSE),  # at most
    (0x20, 0, NOBODY_ELSE),  # others
)


def alike(model: Path) -> os.stat_result:
    made = model.with_name("made")
    with made.open("wb") as file, model.open("rb") as like:
        make_alike(file.fileno(), like.fileno())
    return made.stat()


def test_permissions_and_group_are_those_of_the_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.touch()
    group = SOMEBODY if os.geteuid() == 0 else os.getgid()
    os.chown(model, -1, group)
    model.chmod(0o604)
    found = alike(model)
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o604, group)


def test_who_else_may_read_the_model_may_read_what_is_made(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.touch()
    os.setxattr(model, ACCESS, LIST)
    alike(model)
    assert os.getxattr(tmp_path / "made", ACCESS) == LIST
