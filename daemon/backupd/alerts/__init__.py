"""Incidents and who is told of them: by mail, tickets, a hook."""

from backupd.alerts.book import Book

__all__ = ["Book"]
