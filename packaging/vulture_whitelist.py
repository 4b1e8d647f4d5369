"""What vulture takes for dead and is not. Each line says who uses it."""

from impala.hiveserver2 import HiveServer2Cursor

from backupd.cli.lazy import LazyProgram
from backupd.core.rows import ProductionRow
from backupd.intake.observer import _Reader
from backupd.ops.journal import JournalLogger
from backupd.ops.metrics import _Now
from backupd.ops.output import _Lines
from backupd.warehouse.hive.connection import ImpatientCursor

ProductionRow.companion_name  # the warehouse takes a row's columns by their names

BaseException.__cause__  # Python shows it with the error

LazyProgram.list_commands  # click asks a group for its commands
LazyProgram.get_command
LazyProgram.format_commands
LazyProgram.context.obj  # click hands it to the commands

_Reader.handle_event  # watchdog calls it in its thread

_Now.collect  # prometheus-client calls it at each scrape

_Lines.writable  # Python asks a stream what it can do

ImpatientCursor._poll_interval  # noqa: SLF001 - PyHive sleeps so long between fetches
HiveServer2Cursor._closed  # noqa: SLF001 - impyla logs out by itself otherwise
JournalLogger.critical  # structlog calls it by the level's name
JournalLogger.debug
