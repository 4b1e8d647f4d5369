"""Names of every kind: shipped under the very same name, or parked for the reason that holds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from support import wild_names
from support.fault_site import Site

if TYPE_CHECKING:
    from support.campaigns import Campaign

pytestmark = pytest.mark.faults

FOLDERS = (b"", b"", b"", "Größe 漢字".encode(), b"-x '\"*?", b"caf\xe9", b"one\ntwo")


def deliver(campaign: Campaign, site: Site) -> None:
    """One file, unless something has its name already."""
    last = wild_names.wild_name(campaign.rng)
    name = os.path.join(campaign.rng.choice(FOLDERS), last)  # noqa: PTH118 - bytes
    path, key = site.feed / os.fsdecode(name), os.fsdecode(b"eLUX/cdr/" + name)
    if last in {b"", b".", b".."} or path.exists():
        return
    data, text, why = wild_names.text_for(last, campaign.rng)
    if wild_names.is_passed_over(last):
        site.book.untouched.add(key)
    elif why := wild_names.why_refused(name) or why:
        site.book.refused[key] = why
    else:
        site.book.put(key, data, text)
    path.parent.mkdir(exist_ok=True)
    hidden = site.feed / ".new"
    hidden.write_bytes(data)
    hidden.rename(path)
    campaign.tried()


def test_wild_names(campaign: Campaign) -> None:
    site = Site(campaign.root)
    site.start()
    try:
        wanted = campaign.size(sample=600, whole=20_000)
        while campaign.row.tries < wanted:
            deliver(campaign, site)
        site.does_all(within=wanted / 5)
        site.finish(within=wanted)
    finally:
        site.kill()
    files = len(site.book.contents) + len(site.book.refused) + len(site.book.untouched)
    campaign.ends(files, site.reader.in_the_end())
