"""Figures for Prometheus. Labels are feeds, stages and the like: never a file's name."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_string
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    LedgerError,
    NoRoomError,
    PermanentError,
    RewindError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.ops import output
from backupd.ops.bounded_server import BoundedServer, Bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import Metric

    from backupd.config.sections import MetricsSection
    from backupd.core.stages import Stage

_BOUNDS = Bounds(end=b"\r\n\r\n", longest=16 * 1024, connections=16)
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
_KINDS = (  # in this order: the first ones are transient too
    (UnknownOutcomeError, "unknown_outcome"),
    (NoRoomError, "no_room"),
    (TransientError, "transient"),
    (PermanentError, "permanent"),
    (DependencyDownError, "dependency_down"),
    (RewindError, "rewound"),
)
_NEVER_GIVEN_UP = {"unknown_outcome", "no_room", "dependency_down", "rewound"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is so at the moment of a scrape. Times are seconds since the epoch."""

    files: Mapping[tuple[str, ...], int]  # by feed, stage and status
    oldest: Mapping[str, float]  # by feed: when the oldest open file was first seen
    last_done: Mapping[str, float]  # by feed
    incidents: Mapping[str, int]  # open ones by kind
    breakers: Mapping[str, bool]  # by dependency: whether it is down
    rescanned: int  # files found by a rescan alone, since the start
    last_snapshot: float | None = None  # of the ledger, in the archive
    expected: Mapping[str, int] = field(default_factory=dict)  # by feed: files of a date
    missing: Mapping[str, int] = field(default_factory=dict)  # by feed: of all dates
    lateness: Mapping[str, float] = field(default_factory=dict)  # by feed: in seconds


class Meter:
    """What the daemon counts while it works."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._done = self._counter("files_done", "Files that came to their end", "feed")
        self._bytes = self._counter("bytes_done", "Bytes of the files that came to it", "feed")
        self._failures = self._counter("failures", "Tries that failed", "stage", "kind")
        self._retries = self._counter(
            "retries", "Failed tries after which it is tried again", "stage", "kind"
        )
        self._seconds = Histogram(
            "backupd_stage_duration_seconds",
            "Time that a stage took for a file, or (load, merge) for a batch",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"backupd_{name}", text, labels, registry=self.registry)

    @contextmanager
    def measure(self, stage: Stage, *, is_last: bool) -> Iterator[None]:
        """Time the work that is done inside, and count how it fails.

        `is_last`: the file or batch is parked if this try fails as the ones before did.
        """
        began = time.monotonic()
        try:
            yield
        except LedgerError:
            raise
        except Exception as error:
            kind = kind_of(error)
            self._failures.labels(stage, kind).inc()
            if kind in _NEVER_GIVEN_UP or (kind != "permanent" and not is_last):
                self._retries.labels(stage, kind).inc()
            raise
        finally:
            self._seconds.labels(stage).observe(time.monotonic() - began)

    def done(self, feed: str, size_bytes: int) -> None:
        """Count a file that came to its end."""
        self._done.labels(feed).inc()
        self._bytes.labels(feed).inc(size_bytes)


def kind_of(error: Exception) -> str:
    """Return the kind of an error as a label."""
    return next((name for kind, name in _KINDS if isinstance(error, kind)), "unexpected")


class _Now(Collector):
    """Shows a snapshot at each scrape. Called in the server's thread."""

    def __init__(self, look: Callable[[], Snapshot]) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        """Name nothing beforehand: the registry would look at once, to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        now, found = time.time(), self._look()
        yield _gauge("files", "Files by feed, stage and status", "feed stage status", found.files)
        yield _gauge(
            "oldest_waiting_seconds",
            "Age of the oldest file that is not through",
            "feed",
            {feed: max(now - at, 0.0) for feed, at in found.oldest.items()},
        )
        yield _gauge(
            "last_done_timestamp_seconds", "When the last file was done", "feed", found.last_done
        )
        yield from _completeness(found)
        yield _gauge("open_incidents", "Open incidents by kind", "kind", found.incidents)
        yield _gauge(
            "breaker_open", "Whether it is down (1) or not (0)", "dependency", found.breakers
        )
        yield GaugeMetricFamily(
            "backupd_last_snapshot_timestamp_seconds",
            "When the newest snapshot of the ledger in the archive was taken; 0: there is none",
            value=found.last_snapshot or 0,
        )
        yield CounterMetricFamily(
            "backupd_files_found_by_rescan",
            "Files that no inotify event reported",
            value=found.rescanned,
        )
        yield CounterMetricFamily(
            "backupd_log_lines_lost", "Log lines that could not be written", value=output.lost()
        )


def _completeness(found: Snapshot) -> Iterator[Metric]:
    yield _gauge("expected_files", "Files that a date needs at least", "feed", found.expected)
    yield _gauge(
        "missing_files", "Files of dates that are due, and lack them", "feed", found.missing
    )
    yield _gauge(
        "lateness_seconds",
        "Time by which a feed is behind: since a deadline, or over the longest pause; 0: it is not",
        "feed",
        found.lateness,
    )


def _gauge(
    name: str, text: str, labels: str, values: Mapping[tuple[str, ...], float] | Mapping[str, float]
) -> GaugeMetricFamily:
    """Return a family; where there is one label, its value alone is the key."""
    family = GaugeMetricFamily(f"backupd_{name}", text, labels=labels.split())
    for of, value in values.items():
        family.add_metric([of] if isinstance(of, str) else of, value)
    return family


class MetricsServer:
    """Serves the figures over HTTP while entered as an async context manager."""

    def __init__(self, section: MetricsSection, meter: Meter, look: Callable[[], Snapshot]) -> None:
        """`look` is called in a thread, never twice at a time."""
        self._section = section
        self._registry = meter.registry
        self._registry.register(_Now(look))
        self._server = BoundedServer(_BOUNDS, self)
        self._looking = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    async def __aenter__(self) -> Self:
        """Listen. Raises BackupdError where that cannot be."""
        host, port = self._section.host, self._section.port
        try:
            await self._server.listen(_bound(host, port))
        except OSError as error:
            raise BackupdError(
                f"cannot listen on {host}:{port} for metrics: {error.strerror}",
                hint="set metrics.listen to an address of this host and a free port",
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        """Listen no more."""
        await self._server.close()
        await asyncio.to_thread(self._looking.shutdown)

    async def answer(self, request: bytes, peer: socket.socket) -> bytes:
        """Return the answer to a request's head, whatever its path."""
        del peer
        line, _, fields = request.decode("latin-1").partition("\r\n")
        method = line.partition(" ")[0]
        if method not in {"GET", "HEAD"}:
            return _http(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"")
        accept = message_from_string(fields).get("Accept", "")
        encode, content_type = choose_encoder(accept)
        loop = asyncio.get_running_loop()
        figures = await loop.run_in_executor(self._looking, encode, self._registry)
        return _http(HTTPStatus.OK, content_type, figures, body=method == "GET")

    def refusal(self, why: str) -> bytes:
        """Return the answer to a head that was not heard to its end."""
        text = f"the request is {why}\n".encode()
        return _http(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "text/plain", text)


def _bound(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(address[:2], family=family)


def _http(status: HTTPStatus, content_type: str, content: bytes, *, body: bool = True) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (content if body else b"")
