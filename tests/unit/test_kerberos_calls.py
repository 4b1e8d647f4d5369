"""Calls that may ask the KDC: bounded, one at a time, with libkrb5's words."""

from __future__ import annotations

import base64
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backupd.config.sections import KerberosSection
from backupd.warehouse.hive import kerberos as kerberos_module
from backupd.warehouse.hive.errors import hint
from backupd.warehouse.hive.kerberos import Kerberos, KerberosError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECTION = KerberosSection(principal="backupd@EXAMPLE", keytab=Path("/unused"))


class Context:
    """Stands for a security context."""


class Kdc:
    """Answers as it is told to, in place of the calls into libkrb5."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.answers.set()
        self.asked: list[tuple[str, str, bool]] = []
        self.failure: Exception | None = None
        self.lifetime = 600

    def begun(self, service: str, host: str, *, spnego: bool) -> tuple[Context, bytes]:
        self.asked.append((service, host, spnego))
        self.answers.wait()
        if self.failure:
            raise self.failure
        return Context(), b"token"


@pytest.fixture
def gave_up() -> threading.Event:
    return threading.Event()


@pytest.fixture
def kerberos(gave_up: threading.Event) -> Kerberos:
    return Kerberos(SECTION, gave_up)


@pytest.fixture
def kdc(kerberos: Kerberos, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kdc]:
    made = Kdc()
    monkeypatch.setattr(kerberos, "_begun", made.begun)
    yield made
    made.answers.set()
    for thread in threading.enumerate():
        if thread.name == "kerberos":
            thread.join()


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    with pytest.raises(KerberosError):
        work()
    return time.monotonic() - began


def test_a_context_and_its_first_token_are_returned(kerberos: Kerberos, kdc: Kdc) -> None:
    context, token = kerberos.begin("hive", "hs2.example")
    assert isinstance(context, Context)
    assert token == b"token"
    assert kdc.asked == [("hive", "hs2.example", False)]


def test_a_header_for_http_holds_the_token(kerberos: Kerberos, kdc: Kdc) -> None:
    header = kerberos.negotiate("HTTP", "nn.example")
    assert header == f"Negotiate {base64.b64encode(b'token').decode()}"
    assert kdc.asked == [("HTTP", "nn.example", True)]


def test_an_answer_is_taken_as_soon_as_it_is_there(
    kerberos: Kerberos, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kerberos_module, "_LOOK_EVERY", 60.0)
    kdc.answers.clear()
    threading.Timer(0.05, kdc.answers.set).start()
    began = time.monotonic()
    kerberos.begin("hive", "hs2.example")
    assert time.monotonic() - began < 30


def test_a_kdc_that_hangs_is_given_up_in_time(
    kerberos: Kerberos, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kerberos_module, "_ANSWER_WITHIN", 0.3)
    kdc.answers.clear()
    with pytest.raises(KerberosError, match="the KDC does not answer within") as caught:
        kerberos.begin("hive", "hs2.example")
    assert "KDC does not answer" in hint(str(caught.value))


def test_while_a_question_hangs_the_next_fails_at_once_and_leaves_no_thread(
    kerberos: Kerberos, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kerberos_module, "_ANSWER_WITHIN", 0.3)
    kdc.answers.clear()
    assert seconds(lambda: kerberos.begin("hive", "a")) >= 0.3
    monkeypatch.setattr(kerberos_module, "_ANSWER_WITHIN", 60.0)
    with pytest.raises(KerberosError, match="has not answered an earlier question yet"):
        kerberos.negotiate("HTTP", "b")
    assert seconds(kerberos.get_ticket) < 10
    assert len(kdc.asked) == 1
    assert [each.name for each in threading.enumerate()].count("kerberos") == 1


def test_a_kdc_that_answers_again_is_asked_again(
    kerberos: Kerberos, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kerberos_module, "_ANSWER_WITHIN", 0.3)
    kdc.answers.clear()
    seconds(lambda: kerberos.begin("hive", "a"))
    kdc.answers.set()
    assert kerberos._asked
    kerberos._asked.result(timeout=30)
    assert kerberos.begin("hive", "b")[1] == b"token"


def test_giving_up_ends_the_wait(kerberos: Kerberos, kdc: Kdc, gave_up: threading.Event) -> None:
    kdc.answers.clear()
    threading.Timer(0.2, gave_up.set).start()
    with pytest.raises(KerberosError, match="backupd stops"):
        kerberos.begin("hive", "a")


def test_the_words_are_the_librarys(kerberos: Kerberos, kdc: Kdc) -> None:
    kdc.failure = Unwilling("Major (851968): Unspecified", 2529638918)
    with pytest.raises(KerberosError) as caught:
        kerberos.begin("hive", "a")
    assert str(caught.value) == "Client 'x@R' not found in Kerberos database; twice"
    kdc.failure = Unwilling("a message without a code of libkrb5", 0)
    with pytest.raises(KerberosError, match=r"^a message without a code of libkrb5$"):
        kerberos.negotiate("HTTP", "a")
    kdc.failure = ValueError("another library's")
    with pytest.raises(KerberosError, match=r"^another library's$"):
        kerberos.negotiate("HTTP", "a")


class Unwilling(Exception):  # noqa: N818 - as gssapi's GSSError: derived from nothing else
    """Has what GSSError has."""

    def __init__(self, words: str, min_code: int) -> None:
        super().__init__(words)
        self.min_code = min_code

    def get_all_statuses(self, code: int, is_major: bool) -> list[str]:
        assert (code, is_major) == (self.min_code, False)
        return ["Client 'x@R' not found in Kerberos database", "twice"]


def test_a_ticket_is_told_by_its_lifetime(
    kerberos: Kerberos, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kerberos, "_credentials", lambda: kdc)
    assert kerberos.get_ticket() == 600
    assert kerberos.principal == "backupd@EXAMPLE"
