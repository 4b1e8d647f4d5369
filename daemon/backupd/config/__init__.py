"""The config: `find` it, `load` it, or learn every mistake in it at once."""

from backupd.config.customers import keep_customers, mark_of
from backupd.config.directories import answering, warehouse_answers, write_paths
from backupd.config.loader import find, load, load_places
from backupd.config.mistakes import ConfigMistakes, Mistake

__all__ = [
    "ConfigMistakes",
    "Mistake",
    "answering",
    "find",
    "keep_customers",
    "load",
    "load_places",
    "mark_of",
    "warehouse_answers",
    "write_paths",
]
