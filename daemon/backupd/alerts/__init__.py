"""Incidents and who is told of them: by mail, tickets, a hook."""

from backupd.alerts.book import Book
from backupd.alerts.service import Alerts

__all__ = ["Alerts", "Book"]
