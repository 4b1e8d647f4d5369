"""Who this process runs as, for libraries that ask."""

from __future__ import annotations

import os
import pwd


def have_name() -> None:
    """Give a user without an entry in the user database a name and a home.

    Libraries ask for both, though they need neither, and fail where there is none.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", f"uid-{os.getuid()}")
        os.environ.setdefault("HOME", "/")
