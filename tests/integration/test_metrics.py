"""The figures, as Prometheus scrapes them."""

from __future__ import annotations

import asyncio
import socket
import threading
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from backupd.config.sections import MetricsSection
from backupd.core.errors import (
    BackupdError,
    DependencyDownError,
    NoRoomError,
    PermanentError,
    RefusedError,
    TransientError,
    UnknownOutcomeError,
)
from backupd.core.stages import Stage
from backupd.ops.metrics import Meter, MetricsServer, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

NOTHING = Snapshot(files={}, oldest={}, last_done={}, incidents={}, breakers={}, rescanned=0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def scraped(meter: Meter, snapshot: Snapshot = NOTHING) -> Mapping[str, float]:
    section = MetricsSection(host="127.0.0.1", port=free_port())
    async with MetricsServer(section, meter, lambda: snapshot):
        text = await asyncio.to_thread(_get, f"http://127.0.0.1:{section.port}/metrics")
    return {
        f"{sample.name}{dict(sorted(sample.labels.items()))}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 -- of our own making
        body: bytes = answer.read()
        return body.decode()


async def test_what_is_so_at_the_moment_is_shown() -> None:
    snapshot = Snapshot(
        files={("traffic/a", "ship", "waiting"): 7},
        oldest={"traffic/a": 0.0},
        last_done={"traffic/a": 1_795_435_200.0},
        incidents={"dependency": 1, "feed": 0},
        breakers={"archive": True, "warehouse": False},
        rescanned=3,
        expected={"traffic/a": 96},
        missing={"traffic/a": 2},
        lateness={"traffic/a": 60.0},
    )
    found = await scraped(Meter(), snapshot)
    labels = {"feed": "traffic/a", "stage": "ship", "status": "waiting"}
    assert found[f"backupd_files{labels}"] == 7
    assert found["backupd_oldest_waiting_seconds{'feed': 'traffic/a'}"] > 1e9
    assert found["backupd_last_done_timestamp_seconds{'feed': 'traffic/a'}"] == 1_795_435_200.0
    assert found["backupd_open_incidents{'kind': 'dependency'}"] == 1
    assert found["backupd_breaker_open{'dependency': 'archive'}"] == 1
    assert found["backupd_breaker_open{'dependency': 'warehouse'}"] == 0
    assert found["backupd_files_found_by_rescan_total{}"] == 3
    assert found["backupd_expected_files{'feed': 'traffic/a'}"] == 96
    assert found["backupd_missing_files{'feed': 'traffic/a'}"] == 2
    assert found["backupd_lateness_seconds{'feed': 'traffic/a'}"] == 60


async def test_what_was_done_is_counted_by_feed() -> None:
    meter = Meter()
    meter.done("traffic/a", 1000)
    meter.done("traffic/a", 24)
    found = await scraped(meter)
    assert found["backupd_files_done_total{'feed': 'traffic/a'}"] == 2
    assert found["backupd_bytes_done_total{'feed': 'traffic/a'}"] == 1024


async def test_work_is_timed_by_stage() -> None:
    meter = Meter()
    with meter.measure(Stage.SHIP, is_last=False):
        pass
    found = await scraped(meter)
    assert found["backupd_stage_duration_seconds_count{'stage': 'ship'}"] == 1


@pytest.mark.parametrize(
    ("error", "kind", "is_last", "retries"),
    [
        (TransientError("x"), "transient", False, 1),
        (TransientError("x"), "transient", True, 0),
        (UnknownOutcomeError("x"), "unknown_outcome", True, 1),
        (NoRoomError("x"), "no_room", True, 1),
        (RefusedError("x"), "transient", True, 0),
        (PermanentError("x"), "permanent", False, 0),
        (DependencyDownError("archive", "x"), "dependency_down", True, 1),
        (ValueError("x"), "unexpected", False, 1),
    ],
)
async def test_failures_and_retries_are_counted_by_kind(
    error: Exception, kind: str, is_last: bool, retries: int
) -> None:
    meter = Meter()
    with pytest.raises(type(error)), meter.measure(Stage.SHIP, is_last=is_last):
        raise error
    found = await scraped(meter)
    labels = {"kind": kind, "stage": "ship"}
    assert found[f"backupd_failures_total{labels}"] == 1
    assert found.get(f"backupd_retries_total{labels}", 0) == retries


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        section = MetricsSection(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(BackupdError, match="cannot listen on "):
            async with MetricsServer(section, Meter(), lambda: NOTHING):
                pass


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /anything HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"200 OK"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"405 Method Not Allowed"),
        (b"\xff\x00\r\n\r\n", b"405 Method Not Allowed"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000, b"431 Request Header Fields Too Large"),
    ],
    ids=["a path", "head", "another method", "no HTTP", "too long"],
)
async def test_any_request_is_answered(request_: bytes, status: bytes) -> None:
    section = MetricsSection(host="127.0.0.1", port=free_port())
    async with MetricsServer(section, Meter(), lambda: NOTHING):
        reader, writer = await asyncio.open_connection(section.host, section.port)
        writer.write(request_)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert head.startswith(b"HTTP/1.1 " + status)


async def test_a_scrape_that_takes_its_time_holds_nothing_else_up() -> None:
    go = threading.Event()

    def slow() -> Snapshot:
        go.wait()
        return NOTHING

    section = MetricsSection(host="127.0.0.1", port=free_port())
    async with MetricsServer(section, Meter(), slow):
        url = f"http://127.0.0.1:{section.port}/metrics"
        scrape = asyncio.create_task(asyncio.to_thread(_get, url))
        done, _ = await asyncio.wait([scrape], timeout=0.1)  # the event loop goes on meanwhile
        assert not done
        go.set()
        assert "backupd_files" in await scrape
