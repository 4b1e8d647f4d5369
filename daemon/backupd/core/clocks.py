"""Whether another host's clock agrees with ours."""

from __future__ import annotations

from backupd.core.ports import Probe

_FAR = 60.0  # seconds: a slower answer than that is reported as a fault of the clock


def compared(whose: str, theirs: float, ours: float) -> Probe:
    """Return what to report about a clock; both times are in seconds since the epoch."""
    ahead = theirs - ours
    detail = f"{abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} this host's"
    if abs(ahead) <= _FAR:
        return Probe(f"{whose} clock", ok=True, detail=detail)
    hint = "set the wrong one of the two by NTP: times in logs and tables do not fit otherwise"
    return Probe(f"{whose} clock", ok=False, detail=detail, hint=hint)
