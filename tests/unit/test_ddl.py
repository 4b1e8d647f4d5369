"""The statement that shows the production table to Hive or Impala."""

from pathlib import Path

from backupd.warehouse.ddl import ddl
from support.rows import COLUMNS


def test_every_column_has_its_kind_and_the_date_is_the_partition() -> None:
    text = ddl(COLUMNS, Path("/var/lib/backupd/warehouse"))
    lines = [line.split() for line in text.splitlines()]
    assert ["`file_id`", "string,"] in lines
    assert ["`file_timestamp`", "timestamp,"] in lines
    assert ["`size_bytes`", "bigint,"] in lines
    assert ["`batch_id`", "string"] in lines
    assert "PARTITIONED BY (`file_date` string)\nSTORED AS PARQUET\n" in text
    assert "LOCATION 'file:///var/lib/backupd/warehouse/production';" in text
    assert "MSCK REPAIR TABLE" in text


def test_columns_stand_under_their_names_in_the_table_and_in_its_order() -> None:
    text = ddl({"sha256": "digest", "file_id": "id", "file_date": "day"}, Path("/w"))
    assert text.index("`digest`") < text.index("`id`")
    assert "PARTITIONED BY (`day` string)" in text
    assert "sha256" not in text


def test_names_and_places_are_quoted() -> None:
    text = ddl({"file_id": "odd`name", "file_date": "file_date"}, Path("/o'brien\\data"))
    assert "`odd``name` string" in text
    assert r"'file:///o\'brien\\data/production'" in text
