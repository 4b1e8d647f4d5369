"""The config: `find` it, `load` it, or learn every mistake in it at once."""

from backupd.config.customers import keep_customers, mark_of
from backupd.config.directories import answering, warehouse_answers, write_paths
from backupd.config.loader import SYSTEM_CONFIG, find, load, load_places, mistakes_in
from backupd.config.mistakes import ConfigMistakes, Mistake

__all__ = [
    "SYSTEM_CONFIG",
    "ConfigMistakes",
    "Mistake",
    "answering",
    "find",
    "keep_customers",
    "load",
    "load_places",
    "mark_of",
    "mistakes_in",
    "warehouse_answers",
    "write_paths",
]
