"""Is this file complete, and if not, why? Pure: what was found on the disk goes in as a `Look`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backupd.core.companions import disagreement_key, parse, unreadable
from backupd.core.names import escaped, refusal
from backupd.core.stages import Awaits

if TYPE_CHECKING:
    from backupd.core.records import CompanionRule, FileRecord, Identity

_SOON = 1.0  # seconds
_LONG_OPEN = 600.0  # seconds: a single pass waits no longer for who keeps a file open
_LONG_UNREADABLE = 600.0  # seconds: no passing trouble any more


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanionLook:
    """A companion as found. `problem` says why its text could not be read; "" when it was.

    `may_pass`: what went wrong says nothing about the companion, as a failing disk; it may be read
    the next time.
    """

    identity: Identity
    text: str
    problem: str = ""
    may_pass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A data file as found, and its companion; None where there is none.

    `problem` says what it is when it is no regular file; "" when it is.
    """

    identity: Identity
    companion: CompanionLook | None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How to judge. `settle_for` and `look_every` are seconds.

    `trust_timestamps`: the file system is local, so mtime and ctime show since when a file has been
    unchanged; elsewhere only what was observed counts. `ask_writers`: a file that some process has
    open for writing is not complete. `steady_since`: the clock was set then, and times noted before
    show no age.
    """

    companion: CompanionRule | None
    settle_for: float
    look_every: float
    trust_timestamps: bool
    ask_writers: bool
    steady_since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Complete, as far as can be known without reading it whole."""

    identity: Identity
    unchanged_since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotYet:
    """To be looked at again."""

    reason: str
    look_again_at: float
    identity: Identity
    unchanged_since: float
    disagreement: str | None = None
    awaits: Awaits = Awaits.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A person has to look at it."""

    reason: str
    hint: str


Verdict = Ready | NotYet | Refused


def decide(record: FileRecord, look: Look, rules: Rules, now: float) -> Verdict:
    """Judge a file that waits in settle."""
    if look.problem:
        return Refused(reason=look.problem, hint="look what was put in its place")
    if problem := refusal(record.relative_path):
        verdict = _by_time(record, look, rules, now)
        told = Refused(reason=problem, hint="have it delivered under another name")
        return told if isinstance(verdict, Ready) else verdict
    return _by_rules(record, look, rules, now)


def _by_rules(record: FileRecord, look: Look, rules: Rules, now: float) -> Verdict:
    """Judge a file that can be taken: the first rule that applies decides."""
    rule, companion = rules.companion, look.companion
    if rule and companion:
        pair = _Pair(record=record, identity=look.identity, companion=companion)
        return _by_companion(pair, pair.fault(rule), rules, now)
    if rule and rule.required:
        return NotYet(
            reason=f"waits for its companion {_companion_name(record)}",
            look_again_at=now + rules.look_every,
            identity=look.identity,
            unchanged_since=_unchanged_since(record, look.identity, rules, now),
            awaits=Awaits.COMPANION,
        )
    return _by_time(record, look, rules, now)


def still_written(record: FileRecord, ready: Ready, rules: Rules, now: float) -> NotYet:
    """Put off a file that would be complete, but that some process has open for writing.

    It is looked at again soon, and less often the longer it has been unchanged.
    """
    unchanged_for = now - ready.unchanged_since
    return NotYet(
        reason="some process has it open for writing",
        look_again_at=_ever_later(ready.unchanged_since, rules, now),
        identity=ready.identity,
        unchanged_since=ready.unchanged_since,
        disagreement=record.disagreement,
        awaits=Awaits.WRITER if unchanged_for > _LONG_OPEN else Awaits.NOTHING,
    )


def _ever_later(since: float, rules: Rules, now: float) -> float:
    """Return when to look at what may end at any moment, but did not since then."""
    return now + min(max((now - since) / 4, _SOON), max(rules.look_every, _SOON))


def first_wait(identity: Identity, rules: Rules, now: float) -> NotYet | None:
    """Say what a file waits for that is seen for the first time.

    None where it has to be looked at for that: its companion may be there.
    """
    if rules.companion:
        return None
    return _wait(identity, _since_now(identity, rules, now), rules)


def _by_time(record: FileRecord, look: Look, rules: Rules, now: float) -> Verdict:
    since = _unchanged_since(record, look.identity, rules, now)
    if now - since >= rules.settle_for:
        return Ready(identity=look.identity, unchanged_since=since)
    return _wait(look.identity, since, rules)


def _wait(identity: Identity, since: float, rules: Rules) -> NotYet:
    return NotYet(
        reason=f"waits until it has stayed unchanged for {rules.settle_for:g} s",
        look_again_at=since + rules.settle_for,
        identity=identity,
        unchanged_since=since,
    )


_HINT = "put the companion right or have both delivered anew, then requeue"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A data file and its companion, as found just now."""

    record: FileRecord
    identity: Identity
    companion: CompanionLook

    @property
    def key(self) -> str:
        return disagreement_key(self.identity, self.companion.identity, self.companion.text)

    def fault(self, rule: CompanionRule) -> str | None:
        """Return what is wrong with the companion, as far as can be known without the data."""
        name = _companion_name(self.record)
        if self.companion.problem:
            return f"its companion {name} {self.companion.problem}"
        text = self.companion.text
        claim = parse(text, rule.algorithm)
        if claim is None:
            return (
                f"its companion {name} is not a valid checksum: {unreadable(text, rule.algorithm)}"
            )
        if claim.size not in {None, self.identity.size}:
            return (
                f"its companion {name} says {claim.size} bytes, the file has {self.identity.size}"
            )
        return None

    def unchanged_since(self, rules: Rules, now: float) -> float:
        """Return since when neither of the two changed, as far as is known."""
        observed = now
        if self.record.disagreement == self.key:
            # The manifest stage notes the pair and sends the file back: `stage_since` is when.
            observed = min(now, max(self.record.unchanged_since, self.record.stage_since))
        if self.companion.may_pass:
            return observed
        both = (self.identity, self.companion.identity)
        if all(_times_are_true(each, rules, now) for each in both):
            changed_at = max(_changed_at(self.identity), _changed_at(self.companion.identity))
            observed = min(observed, changed_at)
        return _believed(observed, rules)


def _by_companion(pair: _Pair, fault: str | None, rules: Rules, now: float) -> Verdict:
    """A companion without fault decides at once; a fault counts once both stay as they are."""
    if fault is None and pair.record.disagreement != pair.key:
        since = _unchanged_since(pair.record, pair.identity, rules, now)
        return Ready(identity=pair.identity, unchanged_since=since)
    reason = fault or pair.record.reason  # the manifest stage noted what each of them says
    since = pair.unchanged_since(rules, now)
    look_again_at, patience = since + rules.settle_for, rules.settle_for
    if pair.companion.may_pass:
        look_again_at, patience = _ever_later(since, rules, now), _LONG_UNREADABLE
    if now - since >= patience:
        return Refused(reason=reason, hint=_HINT)
    return NotYet(
        reason=reason,
        look_again_at=look_again_at,
        identity=pair.identity,
        unchanged_since=since,
        disagreement=pair.key,
    )


def _companion_name(record: FileRecord) -> str:
    return escaped((record.companion_path or "").rpartition("/")[2])


def _unchanged_since(record: FileRecord, present: Identity, rules: Rules, now: float) -> float:
    """Return since when the file has been as it is, as far as is known."""
    # A clock that was set back must not make a file wait until the time it had shown.
    observed = min(record.unchanged_since, now) if present == record.identity else now
    return _believed(min(observed, _since_now(present, rules, now)), rules)


def _since_now(present: Identity, rules: Rules, now: float) -> float:
    """Return since when it has been as it is, for one who knows nothing but what is there."""
    return _believed(_changed_at(present), rules) if _times_are_true(present, rules, now) else now


def _believed(since: float, rules: Rules) -> float:
    """Nothing has been unchanged for longer than the clock has run on by itself."""
    return max(since, rules.steady_since)


def _times_are_true(identity: Identity, rules: Rules, now: float) -> bool:
    """Return whether the times of a file can be believed: a time to come shows a clock set back."""
    return rules.trust_timestamps and _changed_at(identity) <= now


def _changed_at(identity: Identity) -> float:
    return max(identity.mtime_ns, identity.ctime_ns) / 1e9
