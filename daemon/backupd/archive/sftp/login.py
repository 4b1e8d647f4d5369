"""Logging in to an SFTP server, and what stands in the way of it."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncssh
from asyncssh.constants import DISC_TOO_MANY_CONNECTIONS
from asyncssh.logging import SSHLogger
from asyncssh.packet import SSHPacketLogger

from backupd.archive.sftp.connection import Link, begun
from backupd.archive.sftp.packets import FewerPackets
from backupd.core.dependencies import Dependency
from backupd.core.errors import DependencyDownError

if TYPE_CHECKING:
    from backupd.config.sections import SftpArchiveSection

CONNECT_WITHIN = 15.0  # seconds for TCP
LOGIN_WITHIN = 30.0  # seconds more for key exchange and login, which name service may slow down
# A server that froze, or a network that swallows packets, is noticed after about 40 s.
KEEPALIVE_EVERY = 10.0
KEEPALIVE_MISSED = 3
# In hardware on both sides, and the MAC comes with it: twice the speed of the default.
CIPHERS = "^aes128-gcm@openssh.com"
# Servers drop some of those who come while too many others log in (MaxStartups), and count those a
# while longer who have just gone. Seconds between tries.
PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0)

_DROPPED = (
    asyncssh.ConnectionLost,
    asyncssh.SFTPConnectionLost,
    asyncssh.SFTPNoConnection,
    BrokenPipeError,
    ConnectionAbortedError,
    ConnectionResetError,
)


async def log_in(section: SftpArchiveSection, again: int | None = None) -> Link:
    """Log in and begin SFTP; where the server drops us at its door, up to `again` times again.

    Raises DependencyDownError, with what to do, for whatever stands in the way.
    """
    for pause in PAUSES[:again]:
        began = time.monotonic()
        try:
            return await _connect(section)
        except DependencyDownError as error:
            if not _was_dropped(error.__cause__) or time.monotonic() - began >= LOGIN_WITHIN:
                raise
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 -- no secret
    return await _connect(section)


def _was_dropped(cause: BaseException | None) -> bool:
    if isinstance(cause, asyncssh.DisconnectError) and cause.code == DISC_TOO_MANY_CONNECTIONS:
        return True
    return isinstance(cause, _DROPPED)


async def _connect(section: SftpArchiveSection) -> Link:
    """Log in and begin SFTP. The host key is always checked."""
    address = f"{section.username}@{section.host}:{section.port}"
    _spare_debug_lines()
    jump = await _jump(section)
    try:
        connection = await _dial(section, jump)
        FewerPackets(connection)
        return await _begin_sftp(connection, address)
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _cannot_connect(section, address, error) from error


async def _jump(section: SftpArchiveSection) -> asyncssh.SSHClientConnection | None:
    """Log in to the host on the way to the server; None where there is none."""
    if section.proxy_jump is None:
        return None
    user, host, port = section.proxy_jump
    there = replace(section, username=user, host=host, port=port)
    try:
        return await _dial(there)
    except (OSError, ValueError, asyncssh.Error) as error:
        raise _cannot_connect(there, f"{user}@{host}:{port}", error) from error


async def _dial(
    section: SftpArchiveSection, jump: asyncssh.SSHClientConnection | None = None
) -> asyncssh.SSHClientConnection:
    """Log in. The connection to the `jump` ends with this one."""
    try:
        connection = await asyncssh.connect(
            section.host,
            section.port,
            tunnel=jump or (),
            username=section.username,
            password=section.password,
            client_keys=[str(section.identity_file)] if section.identity_file else None,
            known_hosts=str(section.known_hosts_file),
            config=[],  # nobody's ~/.ssh/config may change where or how we connect
            agent_path=None,
            encryption_algs=CIPHERS,
            compression_algs=["none"],  # what we send is compressed already
            connect_timeout=CONNECT_WITHIN,
            login_timeout=LOGIN_WITHIN,
            keepalive_interval=KEEPALIVE_EVERY,
            keepalive_count_max=KEEPALIVE_MISSED,
        )
    except BaseException:
        if jump is not None:
            jump.abort()
        raise
    connection.set_tunnel(jump)
    return connection


def _spare_debug_lines() -> None:
    """Have asyncssh put no lines together that nobody sees, for each packet and each request.

    It does so before it asks whether they are logged: an eighth of the work with many small files.
    """
    for owner, name, instead in (
        (SSHLogger, "debug1", SSHLogger.debug2),  # which asks first
        (SSHPacketLogger, "log_sent_packet", _log_nothing),
        (SSHPacketLogger, "log_received_packet", _log_nothing),
    ):
        setattr(owner, name, instead)


def _log_nothing(*_: object) -> None:
    pass


async def _begin_sftp(connection: asyncssh.SSHClientConnection, address: str) -> Link:
    try:
        async with asyncio.timeout(LOGIN_WITHIN):
            return Link(
                connection, await begun(connection, connection.start_sftp_client()), address
            )
    except asyncssh.ConnectionLost:  # as one does that bears no more connections of one user
        raise
    except (OSError, asyncssh.Error) as error:
        connection.abort()
        raise DependencyDownError(
            Dependency.ARCHIVE,
            f"{address} lets us in but offers no SFTP: {error or type(error).__name__}",
            hint="look for `Subsystem sftp` in the sshd_config of the archive host, and how many"
            " sessions it allows this user",
        ) from error
    except BaseException:
        connection.abort()
        raise


def _cannot_connect(
    section: SftpArchiveSection, address: str, error: Exception
) -> DependencyDownError:
    """Say what stands in the way of a connection, and what to do about it."""
    message = f"cannot connect to {address}: {error or type(error).__name__}"
    hint = "look whether the archive host and its sshd are up"
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        message = f"the host key of {section.host}:{section.port} is not the one we know: {error}"
        hint = (
            f"compare it with the host's own; if it was changed on purpose, put the new one into "
            f"{section.known_hosts_file} (ssh-keyscan -p {section.port} {section.host})"
        )
    elif isinstance(error, asyncssh.PermissionDenied):
        message = f"{address} refuses our login: {error}"
        hint = f"add the public half of {section.identity_file} to its authorized_keys"
    elif isinstance(error, asyncssh.KeyImportError) and "assphrase" in str(error):
        message = f"{section.identity_file} is protected by a passphrase, which nobody can type"
        hint = (
            "give the service a key without one, that its user alone can read:"
            f" ssh-keygen -p -f {section.identity_file}"
        )
    elif isinstance(error, asyncssh.KeyExchangeFailed):
        message = f"{address} and backupd have no algorithm in common: {error}"
        hint = (
            f"see what it offers (ssh -vv -p {section.port} {section.host}), and have its sshd"
            " offer current ones: aes128-gcm@openssh.com or aes256-ctr, curve25519-sha256, ed25519"
        )
    elif isinstance(error, FileNotFoundError | PermissionError | ValueError):
        message = f"the key or known_hosts file for {address} cannot be used: {error}"
        hint = f"look at {section.identity_file} and {section.known_hosts_file}"
    elif _was_dropped(error):
        hint += ", and how many connections it takes (MaxStartups, a limit for each user)"
    return DependencyDownError(Dependency.ARCHIVE, message, hint=hint)
