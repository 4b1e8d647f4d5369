"""A sender that does its worst to files and directories at the moment when backupd has them open.

It knows of each of its files what stands there, so that it can say what must be found in the end.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

from support.fault_site import records

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from support.fault_site import Site

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_NOREPLACE = 1
_IN_OPEN, _IN_CLOSE_NOWRITE, _IN_MOVED_FROM = 0x20, 0x10, 0x40
_EVENT = struct.Struct("iIII")
VANISHED = (
    "vanished|in its place|changed|is away|unavailable|link|no regular file|not a regular file"
)
MOST_FILES = 200  # that wait to be taken: more would only hide the racer from the daemon
SWAPPED_FOR = (0.001, 0.01, 0.05, 0.05, 0.3, 1.5)  # seconds that a link stays in a place
FOLDERS = ("", "one", "two/deep")


class Racer:
    """Plays with the one feed of a site; `outside` is a directory that it has the feed point to."""

    def __init__(self, site: Site, rng: random.Random, outside: Path) -> None:
        self._site = site
        self._book = site.book
        self._rng = rng
        self._outside = outside
        self._precious = sorted(outside.glob("*.csv"))
        self._number = 0
        self._now: dict[str, bytes] = {}  # by name below the feed: what stands there, if not taken
        self._undo: list[Callable[[], None]] = []
        self._undo_at = 0.0
        self.acts = 0
        for folder in FOLDERS:
            (site.feed / folder).mkdir(exist_ok=True, parents=True)
        self._opened = Watch([site.feed / folder for folder in FOLDERS])

    def act(self) -> None:
        """Do one thing, mostly to what was opened or moved just now."""
        time.sleep(self._rng.uniform(0, 0.004))
        if not self._undo:
            self._deed()()
            self.acts += 1
        elif time.monotonic() >= self._undo_at:  # until then what is swapped is left alone
            self._undo.pop()()

    def _deed(self) -> Callable[[], None]:
        if (name := self._target()) is None:
            return self.new
        deeds: dict[Callable[[str], None], float] = {
            self.replace: 10,
            self.append: 6,
            self.rewrite: 4,
            self.rename: 4,
            self.name_twice: 2,
            self.put_a_link_in_place: 2,
            self.swap_folder: 1,
            self.swap_root: 0.5,
        }
        (deed,) = self._rng.choices(list(deeds), list(deeds.values()))
        return partial(deed, name)

    def close(self) -> None:
        """Put all back in order; what stands there then is to be taken."""
        while self._undo:
            self._undo.pop()()
        self._opened.close()

    # -- files -----------------------------------------------------------------------------------

    def new(self) -> None:
        self._put(self._new_name(), records(self._rng, 3_000))

    def replace(self, name: str) -> None:
        """Rename a new file into the place of one; where that is gone, what was there is owed."""
        old, data = self._now[name], records(self._rng, 3_000)
        hidden = self._hidden(data)
        if not rename_if_free(hidden, self._path(name)):
            hidden.rename(self._path(name))
            self._take_back(name, old)
        self._excuse(name)
        self._stands(name, data)

    def append(self, name: str) -> None:
        """Open what is there, add to it; now and then with a rest in between."""
        tail = records(self._rng, 500)
        if (descriptor := self._open(name)) is not None:
            self._note_change(name, self._now[name] + tail)
            os.lseek(descriptor, 0, os.SEEK_END)
            os.write(descriptor, tail)
            os.close(descriptor)

    def rewrite(self, name: str) -> None:
        """Empty a file, then write it anew, longer or shorter."""
        data = records(self._rng, 3_000)
        if (descriptor := self._open(name)) is not None:
            self._note_change(name, data)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, data)
            os.close(descriptor)

    def rename(self, name: str) -> None:
        new, data = self._new_name(), self._now[name]
        self._put_key(new, data)
        try:
            self._path(name).rename(self._path(new))
        except FileNotFoundError:
            self._take_back(new, data)
            del self._now[name]
            return
        self._take_back(name, data)
        del self._now[name]
        self._now[new] = data

    def name_twice(self, name: str) -> None:
        """Give a file a second name; from then on both are left alone."""
        new, data = self._new_name(), self._now.pop(name)
        self._put_key(new, data)
        try:
            os.link(self._path(name), self._path(new))
        except FileNotFoundError:
            self._take_back(new, data)

    def put_a_link_in_place(self, name: str) -> None:
        """A link to a precious file comes into a file's place, and stays for a while."""
        hidden = self._site.feed / f".{self.acts}.link"
        hidden.symlink_to(self._rng.choice(self._precious))
        hidden.rename(self._path(name))
        self._take_back(name, self._now.pop(name))
        self._later(lambda: self._path(name).unlink(missing_ok=True))

    # -- directories -----------------------------------------------------------------------------

    def swap_folder(self, _: str) -> None:
        self._swap(self._site.feed / self._rng.choice(["one", "two", "two/deep"]))

    def swap_root(self, _: str) -> None:
        """The feed's directory itself: its parent belongs to the sender."""
        self._swap(self._site.feed)

    def _swap(self, directory: Path) -> None:
        """A link comes into a directory's place, or an empty directory does."""
        aside = directory.with_name(f".{directory.name}.aside")
        is_link = self._rng.random() < 0.8
        directory.rename(aside)
        directory.symlink_to(self._outside) if is_link else directory.mkdir()

        def back() -> None:
            directory.unlink() if is_link else directory.rmdir()
            aside.rename(directory)

        self._excuse(*self._now)
        self._later(back)

    # -- what it knows ---------------------------------------------------------------------------

    def _later(self, undo: Callable[[], None]) -> None:
        self._undo.append(undo)
        self._undo_at = time.monotonic() + self._rng.choice(SWAPPED_FOR)

    def _target(self) -> str | None:
        """Return what is to be hit, most often a name that was opened or moved just now.

        None: it is time for a new file. What is hit all the time never settles.
        """
        just_now = [name for name in self._opened.names(self._site.feed) if name in self._now]
        if just_now and self._rng.random() < 0.7:
            return self._rng.choice(just_now)
        if len(self._now) > MOST_FILES:
            self._forget_taken()
        if len(self._now) > MOST_FILES or self._rng.random() < 0.05:
            return self._rng.choice(sorted(self._now)) if self._now else None
        return None

    def _new_name(self) -> str:
        self._number += 1
        folder = self._rng.choice(FOLDERS)
        return f"{folder}/{self._number:06}.csv".lstrip("/")

    def _forget_taken(self) -> None:
        self._now = {name: data for name, data in self._now.items() if self._path(name).exists()}

    def _path(self, name: str) -> Path:
        return self._site.feed / name

    def _hidden(self, data: bytes) -> Path:
        hidden = self._site.feed / f".{self.acts}.new"
        hidden.write_bytes(data)
        return hidden

    def _open(self, name: str) -> int | None:
        try:
            return os.open(self._path(name), os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            del self._now[name]
            return None

    def _put(self, name: str, data: bytes) -> None:
        hidden = self._hidden(data)
        self._stands(name, data)
        hidden.rename(self._path(name))

    def _stands(self, name: str, data: bytes) -> None:
        self._put_key(name, data)
        self._now[name] = data

    def _note_change(self, name: str, data: bytes) -> None:
        self._take_back(name, self._now[name])
        self._stands(name, data)

    def _put_key(self, name: str, data: bytes) -> None:
        self._book.put(f"eLUX/cdr/{name}", data)

    def _take_back(self, name: str, data: bytes) -> None:
        self._book.take_back(f"eLUX/cdr/{name}", data)
        self._excuse(name)

    def _excuse(self, *names: str) -> None:
        self._book.excused |= {f"eLUX/cdr/{name}": VANISHED for name in names}


class Watch:
    """Tells, by inotify, which files were opened or moved away just now."""

    def __init__(self, directories: list[Path]) -> None:
        self._descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        self._directories: dict[int, Path] = {}
        for directory in directories:
            wanted = _IN_OPEN | _IN_CLOSE_NOWRITE | _IN_MOVED_FROM
            watch = _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), wanted)
            self._directories[watch] = directory

    def names(self, below: Path) -> list[str]:
        """Return the names of the last events, relative to a directory; waits a few ms for one."""
        select.select([self._descriptor], [], [], 0.003)
        try:
            data = os.read(self._descriptor, 65536)
        except BlockingIOError:
            return []
        return [str(path.relative_to(below)) for path in self._paths(data)][-8:]

    def _paths(self, data: bytes) -> list[Path]:
        found, at = [], 0
        while at < len(data):
            watch, _, _, length = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            if name and not name.startswith(b".") and watch in self._directories:
                found.append(self._directories[watch] / os.fsdecode(name))
        return found

    def close(self) -> None:
        os.close(self._descriptor)


def rename_if_free(old: Path, new: Path) -> bool:
    """Rename unless something has the new name; tell whether it was free."""
    done = _libc.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _NOREPLACE)
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    raise OSError(code, os.strerror(code), str(new))
