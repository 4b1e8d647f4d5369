"""What `check --probe` finds where the daemon listens: the control socket, the metrics' port."""

from __future__ import annotations

import os
import socket
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from backupd.control import DaemonAbsentError, ask_daemon
from backupd.core.errors import BackupdError
from backupd.core.ports import Probe
from backupd.ledger import lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backupd.config.sections import Config, MetricsSection

_MADE_BY_SYSTEMD = Path("/run/backupd")  # RuntimeDirectory= of the unit
_ANSWER_WITHIN = 5.0  # seconds
_OURS = b"backupd_"  # how each of our metrics begins


def listening_probes(config: Config) -> Iterator[Probe]:
    """Yield whether the daemon answers, or could listen, on each of its addresses."""
    runs = lock.held(config.ledger.path)
    yield _probe_socket(config.control.socket, runs=runs)
    if config.metrics is not None:
        yield _probe_port(config.metrics, runs=runs)


def _probe_socket(path: Path, *, runs: bool) -> Probe:
    subject = f"control socket {path}"
    try:
        pid = ask_daemon(path, {"verb": "status"})["pid"]
    except DaemonAbsentError:
        return _not_answered(subject, path, runs=runs)
    except BackupdError as error:
        return Probe(subject, ok=False, detail=str(error), hint=error.hint)
    if runs:
        return Probe(subject, ok=True, detail=f"the running backupd (pid {pid}) answers")
    return Probe(
        subject,
        ok=False,
        detail=f"another backupd (pid {pid}), with another ledger, answers on it",
        hint="give each daemon a control.socket of its own",
    )


def _not_answered(subject: str, path: Path, *, runs: bool) -> Probe:
    if runs:
        hint = "restart backupd: somebody removed its socket, or changed control.socket since"
        return Probe(subject, ok=False, detail="the running backupd does not answer", hint=hint)
    if os.path.lexists(path) and not path.is_socket():
        hint = "move it away, or set control.socket to another path"
        return Probe(subject, ok=False, detail="something that is not a socket is there", hint=hint)
    if path.parent == _MADE_BY_SYSTEMD and not path.parent.is_dir():
        return Probe(subject, ok=True, detail="free; systemd makes its directory")
    if not path.parent.is_dir():
        hint = f"make {path.parent}, or set control.socket to another path"
        return Probe(subject, ok=False, detail="its directory is not there", hint=hint)
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True):
        hint = f"let user {os.geteuid()} write {path.parent}"
        return Probe(subject, ok=False, detail="its directory is not writable", hint=hint)
    return Probe(subject, ok=True, detail="free")


def _probe_port(section: MetricsSection, *, runs: bool) -> Probe:
    address = section.host, section.port
    subject = f"metrics {section.host}:{section.port}"
    if runs and _is_ours(address):
        return Probe(subject, ok=True, detail="the running backupd answers")
    try:
        family = socket.getaddrinfo(*address)[0][0]
        socket.create_server(address, family=family).close()
    except OSError as error:
        hint = "end what listens there (ss -ltnp), or set metrics.listen to another address"
        return Probe(subject, ok=False, detail=error.strerror or str(error), hint=hint)
    if runs:
        hint = "restart backupd: it began with another metrics.listen"
        return Probe(subject, ok=False, detail="the running backupd does not answer", hint=hint)
    return Probe(subject, ok=True, detail="free")


def _is_ours(address: tuple[str, int]) -> bool:
    with (
        suppress(OSError, HTTPException),
        closing(HTTPConnection(*address, timeout=_ANSWER_WITHIN)) as connection,
    ):
        connection.request("GET", "/metrics")
        return _OURS in connection.getresponse().read()
    return False
