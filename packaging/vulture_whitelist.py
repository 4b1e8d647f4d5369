"""What vulture takes for dead and is not. Each line says who uses it."""

from backupd.core.records import ProductionRow

ProductionRow.companion_name  # the warehouse takes a row's columns by their names

BaseException.__cause__  # Python shows it with the error
