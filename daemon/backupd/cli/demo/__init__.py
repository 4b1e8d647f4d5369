"""`backupd demo`: realistic feeds, the real daemon on them, and what became of each file."""

from backupd.cli.demo.command import demo

__all__ = ["demo"]
