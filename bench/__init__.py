"""The bench: the real `backupd` against its peers, on the same files and the same SSH server.

    python -m bench [--quick]       prints one table, and writes bench-result.json
    python -m bench --only years    three years of a daemon: what of it goes on growing

Run it on a machine that does nothing else. What others do at the same time makes every figure
worse; the ratios, for which peers take turns, suffer least.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

# `support` is what the tests share; the bench borrows their SSH server.
sys.path.insert(0, str(ROOT / "tests"))
