"""Incidents, and who is notified of them: by mail, tickets, a hook."""

from backupd.alerts.service import Alerts
from backupd.alerts.tracker import IncidentTracker

__all__ = ["Alerts", "IncidentTracker"]
