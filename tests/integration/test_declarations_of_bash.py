"""What bash itself prints by `declare -p`, read back."""

from __future__ import annotations

import os
import random
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from backupd.migration.declarations import read

if TYPE_CHECKING:
    from backupd.migration.declarations import Value

ARRAYS = 1000
LETTERS = [
    *"abcXYZ019 _-.,;:/*?[](){}<>|&!#~=+@%^",
    *"'\"\\$`\n\t\r\a\b\f\v\x1b\x01\x7f",
    *"éßü€漢😀\u200b\u00a0",
    *(os.fsdecode(bytes([byte])) for byte in (0x80, 0xC3, 0xFF)),
]


def _text(rng: random.Random) -> str:
    made = "".join(rng.choices(LETTERS, k=rng.randrange(12)))
    return os.fsdecode(os.fsencode(made))  # bytes that make up a letter by chance are one


def _arrays(rng: random.Random) -> dict[str, Value]:
    arrays: dict[str, Value] = {}
    for number in range(ARRAYS):
        texts = [_text(rng) for _ in range(rng.randrange(6))]
        keys = [_text(rng) or "key" for _ in texts] if number % 2 else map(str, range(len(texts)))
        arrays[f"array_{number}"] = dict(zip(keys, texts, strict=True))
    return arrays


def _script(arrays: dict[str, Value]) -> str:
    lines = []
    for name, items in arrays.items():
        assert isinstance(items, dict)
        lines.append(f"declare -{'A' if int(name.split('_')[1]) % 2 else 'a'} {name}=()")
        lines += [
            f"key={shlex.quote(key)}; {name}[$key]={shlex.quote(text)}"
            for key, text in items.items()
        ]
    return "\n".join([*lines, f"declare -p {' '.join(arrays)}"])


def _bash(script: str, **environ: str) -> bytes:
    return subprocess.run(
        ["bash", "--norc", "-s"],
        input=os.fsencode(script),
        capture_output=True,
        env={"PATH": os.environ["PATH"], **environ},
        check=True,
    ).stdout


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_thousand_random_arrays_come_back(locale: str) -> None:
    arrays = _arrays(random.Random(16))

    assert read(_bash(_script(arrays), LC_ALL=locale)) == arrays


def test_all_that_a_shell_declares_by_itself_is_read() -> None:
    found = read(_bash("declare -rx own='1 2'; declare -n other=own; unset HOME; declare -p"))

    assert (found["own"], found["other"]) == ("1 2", "1 2")
    assert "HOME" not in found
    assert isinstance(found["BASH_VERSINFO"], dict)
