"""Cells of CSV files can do nothing in a spreadsheet."""

from __future__ import annotations

import pytest

from backupd.core.cells import harmless


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "\uff1d1"])
def test_a_cell_that_a_program_would_take_for_a_formula_is_made_text(text: str) -> None:
    made = harmless(text)
    assert isinstance(made, str)
    assert made.startswith(("'", "\\"))


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    assert [harmless(each) for each in ("a-b=c", 5, 1.5, None, "")] == ["a-b=c", 5, 1.5, None, ""]
