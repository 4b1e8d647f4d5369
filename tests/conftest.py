"""What holds for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from support import samples
from support.hadoop import running_hadoop
from support.kdc import running_kdc
from support.secure_hadoop import running_secure_hadoop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.hadoop import Hadoop
    from support.kdc import Kdc
    from support.secure_hadoop import SecureHadoop

# Before anything imports it: so that its asserts, too, show what was compared.
pytest.register_assert_rewrite("support.merging")

# How long an example takes says something about the machine's load, nothing about the product.
settings.register_profile("backupd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("backupd")


@pytest.hookimpl(trylast=True)  # after -m has chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With HADOOP=sample, run two variants of each test at most."""
    if samples.HADOOP:
        chosen = samples.sampled(items)
        config.hook.pytest_deselected(items=list(set(items).difference(chosen)))
        items[:] = chosen


@pytest.fixture(scope="session")
def plain_hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """A real HDFS and HiveServer2 for all tests that want one."""
    with running_hadoop(tmp_path_factory.mktemp("hadoop")) as started:
        yield started


@pytest.fixture(scope="session")
def two_hives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """The same with two HiveServer2, which share a metastore and are found by ZooKeeper."""
    with running_hadoop(tmp_path_factory.mktemp("two-hives"), two_hives=True) as started:
        yield started


@pytest.fixture(scope="session")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    """A Kerberos of our own, which KRB5_CONFIG names to this process."""
    with running_kdc(tmp_path_factory.mktemp("kerberos") / "kdc") as started:
        yield started


@pytest.fixture(scope="session")
def secure_hadoop(tmp_path_factory: pytest.TempPathFactory, kdc: Kdc) -> Iterator[SecureHadoop]:
    """All of it by Kerberos and TLS: two NameNodes, HiveServer2 in both transports, HttpFS."""
    directory = tmp_path_factory.mktemp("secure-hadoop")
    with running_secure_hadoop(directory, kdc, ha=True, httpfs=True) as started:
        yield started


@pytest.fixture(scope="session")
def secure_two_hives(tmp_path_factory: pytest.TempPathFactory, kdc: Kdc) -> Iterator[SecureHadoop]:
    """By Kerberos and TLS, with two HiveServer2 and one NameNode."""
    directory = tmp_path_factory.mktemp("secure-two-hives")
    with running_secure_hadoop(directory, kdc, two_hives=True) as started:
        yield started
