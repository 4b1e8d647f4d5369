"""Runs bash where it can read, and do nothing else. A program of its own, used by `sourcing.py`.

    python -P -m backupd.migration.confinement SCRIPT FILE

It enters new namespaces (user, mount, network, IPC, host name, processes), makes every mount
read-only and without devices but /dev/null, gives up all capabilities, refuses sockets, limits
time and memory, and becomes `bash -c SCRIPT NAME FILE` with an environment of few variables. What
is left: named pipes that the user may write to.

The user keeps the identity, and with it the permissions to read. It ends with NOT_CONFINED and one
line on standard error, which begins with WHY, having run nothing, where any of this cannot be had.

Sources: user_namespaces(7), mount_setattr(2), open_tree(2), seccomp(2), capabilities(7); numbers
from the kernel's include/uapi/linux/{mount,sched,prctl,seccomp,audit,filter}.h.
"""

from __future__ import annotations

import ctypes
import os
import platform
import pwd
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import NoReturn

NOT_CONFINED = 125  # exit code
WHY = "not confined: "  # begins the line that says why
BASH = "/bin/bash"
PASSED_ON = ("ENV_MODE", "IMPALAD_HOST", "SDP_ticket_from_email", "SDP_Receipient_List")
"""What the nightly job has from its environment."""

_NAMESPACES = 0x00020000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_MOUNT_SETATTR = 428, 429, 442  # on every architecture
_AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE, _FROM_EMPTY_PATH = -100, 0x8000, 1, 4
_READ_ONLY, _NO_SUID, _NO_DEVICES = 1, 2, 4
_MS_REC_PRIVATE = 0x4000 | 0x40000
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_NO_NEW_PRIVILEGES = 1, 22, 24, 38
_LIMITS = {
    resource.RLIMIT_CPU: 20,  # seconds
    resource.RLIMIT_AS: 1 << 30,  # bytes
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 256,
}
_SOCKETS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}  # audit's name, socket(2)
_IO_URING_SETUP, _X32 = 425, 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | 13  # EACCES

_libc = ctypes.CDLL(None, use_errno=True)


def main(script: str, file: str) -> NoReturn:
    """Become bash, confined."""
    try:
        _enter_namespaces()
        if child := os.fork():  # the first process of the new namespace
            _, status = os.waitpid(child, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _make_read_only()
        environment = _environment()
        _drop_capabilities()
        _refuse_sockets()
        for limit, value in _LIMITS.items():
            resource.setrlimit(limit, (value, value))
        arguments = ["bash", "--noprofile", "--norc", "-c", script, "import-job", file]
        os.execve(BASH, arguments, environment)  # noqa: S606 - bash, with a fixed script
    except OSError as error:
        sys.stderr.write(f"{WHY}{error.filename}: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(NOT_CONFINED)


def _enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NAMESPACES)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


def _make_read_only() -> None:
    """Devices can be written on a read-only mount: so there are none but /dev/null."""
    _call("mount", b"none", b"/", None, _MS_REC_PRIVATE, None)
    null = _call("syscall", _SYS_OPEN_TREE, _AT_FDCWD, b"/dev/null", _OPEN_TREE_CLONE)
    attributes = struct.pack("4Q", _READ_ONLY | _NO_SUID | _NO_DEVICES, 0, 0, 0)
    size = len(attributes)
    _call("syscall", _SYS_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, size)
    _call("syscall", _SYS_MOVE_MOUNT, null, b"", _AT_FDCWD, b"/dev/null", _FROM_EMPTY_PATH)
    os.close(null)
    os.chdir(Path.cwd())  # the old one is still on the mount of before


def _drop_capabilities() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text(encoding="ascii"))
    for capability in range(last + 1):
        _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)


def _refuse_sockets() -> None:
    """A socket in the file system leads to a service of this host, whatever the namespaces."""
    architecture, socket = _SOCKETS.get(platform.machine(), (0, 0))
    if not socket:
        raise OSError(0, f"not on {platform.machine()}", "seccomp")
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 2, 0, _X32),
        (_EQUAL, 1, 0, socket),
        (_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    filters = b"".join(struct.pack("HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(filters)
    of_program = struct.pack("HL", len(program), ctypes.addressof(buffer))
    _call("prctl", _PR_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _call("prctl", _PR_SET_SECCOMP, 2, of_program, 0, 0)


def _environment() -> dict[str, str]:
    """Return few variables: another shell's would be taken for the job's own."""
    given = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    user = pwd.getpwuid(os.geteuid())
    return {
        "HOME": user.pw_dir,
        "LANG": "C.UTF-8",
        "LOGNAME": user.pw_name,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "USER": user.pw_name,
        **given,
    }


def _call(name: str, *arguments: object) -> int:
    result = int(getattr(_libc, name)(*arguments))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
