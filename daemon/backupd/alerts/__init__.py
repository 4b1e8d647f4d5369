"""Incidents, and who is notified of them: by mail, tickets, a hook; the daily report's mail."""

from backupd.alerts.daily import Reporting, yesterday
from backupd.alerts.service import Alerts
from backupd.alerts.tracker import IncidentTracker

__all__ = ["Alerts", "IncidentTracker", "Reporting", "yesterday"]
