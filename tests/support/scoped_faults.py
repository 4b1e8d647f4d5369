"""Faults that concern one of many feeds, or nobody: each is put in and taken away again."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import stat
import subprocess
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.ten_feeds import TenFeeds

_TERABYTE = 1 << 40
_EMPTY_MEMBERS = 400_000
_BURST = 300
_CROWD = 150
_FROM_LINE_TO_LINE = 0.02  # seconds: a fifth of what a file has to be at rest for


@dataclass(frozen=True)
class Fault:
    """`put` it into a feed; leaving the context takes it away.

    `told` is what the kind and the cause of its incident begin with; None: there is none.
    `refuses`: what it puts into the feed is parked, and told as that.
    """

    name: str
    put: Callable[[TenFeeds, str, random.Random], AbstractContextManager[None]]
    told: str | None = None
    refuses: bool = False


# -- in the archive ------------------------------------------------------------------------------


@contextlib.contextmanager
def something_in_the_directorys_place(
    site: TenFeeds, feed: str, put: Callable[[Path], object]
) -> Iterator[None]:
    directory = site.archive_of(feed).parent
    aside = directory.with_name(f".{directory.name}.aside")
    directory.rename(aside)
    put(directory)
    yield
    directory.unlink()
    aside.rename(directory)


@contextlib.contextmanager
def a_file_in_its_place(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    with something_in_the_directorys_place(site, feed, lambda path: path.write_text("a file")):
        yield


@contextlib.contextmanager
def a_link_in_its_place(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    with something_in_the_directorys_place(site, feed, lambda path: path.symlink_to(elsewhere)):
        yield
    assert not list(elsewhere.iterdir()), "a link in the archive was followed"


@contextlib.contextmanager
def a_read_only_disk(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    _remount(site.archive_of(feed), "ro")
    yield
    _remount(site.archive_of(feed), "rw")


def _remount(place: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)


@contextlib.contextmanager
def a_full_disk(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    with _ballast(site.archive_of(feed), free=0):
        yield


@contextlib.contextmanager
def a_disk_without_inodes(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    place = site.archive_of(feed)
    space = os.statvfs(place)
    _remount(place, f"nr_inodes={space.f_files - space.f_ffree}")
    yield
    _remount(place, f"nr_inodes={space.f_files}")


@contextlib.contextmanager
def _ballast(place: Path, free: int) -> Iterator[None]:
    space = os.statvfs(place)
    ballast = place / ".ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - free)
    yield
    ballast.unlink()


@contextlib.contextmanager
def a_file_larger_than_the_room(site: TenFeeds, feed: str, rng: random.Random) -> Iterator[None]:
    with _ballast(site.archive_of(feed), free=4 << 20):
        site.deliver(feed, "large.csv", f"{rng.randbytes(8 << 20).hex()}\n".encode())
        yield


# -- in the feed's directory ---------------------------------------------------------------------


@contextlib.contextmanager
def an_inbox_that_is_gone(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    with _instead_of_the_inbox(site, feed, lambda _: None):
        yield


@contextlib.contextmanager
def an_inbox_that_is_a_file(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    with _instead_of_the_inbox(site, feed, lambda path: path.write_text("a file")):
        yield


@contextlib.contextmanager
def an_inbox_that_is_a_link(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    elsewhere = site.root / "private"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "secret.csv").write_text("not to be taken\n")
    with _instead_of_the_inbox(site, feed, lambda path: path.symlink_to(elsewhere)):
        yield
    assert (elsewhere / "secret.csv").exists(), "a link in the place of a feed was followed"


@contextlib.contextmanager
def _instead_of_the_inbox(
    site: TenFeeds, feed: str, put: Callable[[Path], object]
) -> Iterator[None]:
    inbox = site.inbox_of(feed)
    site.silent.add(feed)  # its sender cannot deliver
    aside = inbox.with_name(".aside")
    inbox.rename(aside)
    put(inbox)
    yield
    inbox.unlink(missing_ok=True)
    aside.rename(inbox)
    site.silent.discard(feed)


@contextlib.contextmanager
def standing(path: Path, make: Callable[[Path], object]) -> Iterator[None]:
    make(path)
    yield
    path.unlink()


def a_sparse_file(site: TenFeeds, feed: str, _: random.Random) -> AbstractContextManager[None]:
    def make(path: Path) -> None:
        path.touch()
        os.truncate(path, _TERABYTE)

    return standing(site.inbox_of(feed) / "sparse.csv", make)


@contextlib.contextmanager
def a_gzip_of_nothing(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    packer = zlib.compressobj(wbits=31)
    member = packer.compress(b"") + packer.flush()
    site.deliver(feed, "nothing.csv.gz", member * _EMPTY_MEMBERS)
    yield


@contextlib.contextmanager
def a_gzip_that_is_cut(site: TenFeeds, feed: str, rng: random.Random) -> Iterator[None]:
    with standing(
        site.inbox_of(feed) / "cut.csv.gz",
        lambda path: path.write_bytes(gzip.compress(rng.randbytes(5_000))[:-100]),
    ):
        yield


def a_socket(site: TenFeeds, feed: str, _: random.Random) -> AbstractContextManager[None]:
    return standing(
        site.inbox_of(feed) / "socket.csv", lambda path: os.mknod(path, stat.S_IFSOCK | 0o600)
    )


def a_named_pipe(site: TenFeeds, feed: str, _: random.Random) -> AbstractContextManager[None]:
    return standing(site.inbox_of(feed) / "pipe.csv", os.mkfifo)


def a_link_that_matches(
    site: TenFeeds, feed: str, _: random.Random
) -> AbstractContextManager[None]:
    return standing(site.inbox_of(feed) / "link.csv", lambda path: path.symlink_to("/etc/hostname"))


@contextlib.contextmanager
def a_writer_that_pauses(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    name = "slow.csv"
    with (site.inbox_of(feed) / name).open("wb") as file:
        file.write(b"first\n")
        file.flush()
        yield
        file.write(b"second\n")
        site.book.put(f"{feed}/cdr/{name}", b"first\nsecond\n")


@contextlib.contextmanager
def a_writer_that_goes_on(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    """Append by a new descriptor each time: between two lines, nobody has it open."""
    path, ended = site.inbox_of(feed) / "growing.csv", threading.Event()

    def write() -> None:
        while not ended.wait(_FROM_LINE_TO_LINE):
            with path.open("ab") as file:
                file.write(b"one more line\n")

    writer = threading.Thread(target=write)
    writer.start()
    yield
    ended.set()
    writer.join()
    site.book.put(f"{feed}/cdr/{path.name}", path.read_bytes())


@contextlib.contextmanager
def a_burst(site: TenFeeds, feed: str, _: random.Random) -> Iterator[None]:
    for number in range(_BURST):
        site.deliver(feed, f"burst{number}.csv", b"a burst\n%d\n" % number)
    yield


def a_name_that_cannot_be_taken(
    site: TenFeeds, feed: str, _: random.Random
) -> AbstractContextManager[None]:
    return standing(site.inbox_of(feed) / "odd\nname.csv", lambda path: path.write_text("rows\n"))


# -- on the host ---------------------------------------------------------------------------------


@contextlib.contextmanager
def a_crowd_that_never_asks(site: TenFeeds, _feed: str, _rng: random.Random) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(_CROWD):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX))
            peer.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                peer.connect(str(site.places.socket))
        yield


ALL = [
    Fault("a file in the archive directory's place", a_file_in_its_place, "archive archive:"),
    Fault("a link in the archive directory's place", a_link_in_its_place, "archive archive:"),
    Fault("a read-only archive disk", a_read_only_disk, "archive archive:"),
    Fault("a full archive disk", a_full_disk, "archive archive:"),
    Fault("an archive disk without inodes", a_disk_without_inodes, "archive archive:"),
    Fault("a file larger than the room", a_file_larger_than_the_room, "archive room"),
    Fault("an inbox that is gone", an_inbox_that_is_gone, "feed feed:"),
    Fault("an inbox that is a file", an_inbox_that_is_a_file, "feed feed:"),
    Fault("an inbox that is a link", an_inbox_that_is_a_link, "feed feed:"),
    Fault("a sparse file", a_sparse_file, refuses=True),
    Fault("a gzip of nothing", a_gzip_of_nothing),
    Fault("a gzip that is cut", a_gzip_that_is_cut, refuses=True),
    Fault("a socket", a_socket, "untaken "),
    Fault("a named pipe", a_named_pipe, "untaken "),
    Fault("a link that matches", a_link_that_matches, "untaken "),
    Fault("a writer that pauses", a_writer_that_pauses),
    Fault("a writer that goes on", a_writer_that_goes_on),
    Fault("a burst", a_burst),
    Fault("a name that cannot be taken", a_name_that_cannot_be_taken, refuses=True),
    Fault("a crowd that never asks", a_crowd_that_never_asks),
]
