"""The statements that make the production table."""

from pathlib import Path

from backupd.config.sections import WarehouseSection
from backupd.warehouse.ddl import ddl
from support.hives import hive_options
from support.rows import COLUMNS


def embedded(columns: dict[str, str], root: str) -> str:
    return ddl(WarehouseSection(kind="embedded", columns=columns, embedded_root=Path(root)))


def in_hive(columns: dict[str, str], **changes: object) -> str:
    hive = hive_options(database="db", production_table="rows", **changes)
    root = Path("/unused")
    return ddl(WarehouseSection(kind="hive", columns=columns, embedded_root=root, hive=hive))


def test_every_column_has_its_kind_and_the_date_is_the_partition() -> None:
    text = embedded(COLUMNS, "/var/lib/backupd/warehouse")
    lines = [line.split() for line in text.splitlines()]
    assert ["`file_id`", "string,"] in lines
    assert ["`file_timestamp`", "timestamp,"] in lines
    assert ["`size_bytes`", "bigint,"] in lines
    assert ["`batch_id`", "string"] in lines
    assert "PARTITIONED BY (`file_date` string)\nSTORED AS PARQUET\n" in text
    assert "LOCATION 'file:///var/lib/backupd/warehouse/production';" in text
    assert "MSCK REPAIR TABLE" in text


def test_columns_stand_under_their_names_in_the_table_and_in_its_order() -> None:
    text = embedded({"sha256": "digest", "file_id": "id", "file_date": "day"}, "/w")
    assert text.index("`digest`") < text.index("`id`")
    assert "PARTITIONED BY (`day` string)" in text
    assert "sha256" not in text


def test_names_and_places_are_quoted() -> None:
    text = embedded({"file_id": "odd`name", "file_date": "file_date"}, "/o'brien\\data")
    assert "`odd``name` string" in text
    assert r"'file:///o\'brien\\data/production'" in text


def test_in_hive_the_table_has_the_names_of_the_config_and_hive_chooses_its_place() -> None:
    text = in_hive({"sha256": "digest", "file_id": "id", "file_date": "day"})
    assert "CREATE EXTERNAL TABLE `db`.`rows` (\n  `digest` string,\n  `id` string\n)" in text
    assert "PARTITIONED BY (`day` string)\nSTORED AS PARQUET\n" in text
    assert "LOCATION" not in text


def test_for_insert_there_is_a_staging_table_by_batch_whose_files_go_with_its_partitions() -> None:
    columns = COLUMNS | {"batch_id": "load_id", "file_date": "day"}
    text = in_hive(columns, merge="insert", staging_table="inter")
    staging, production, _ = text.split("CREATE EXTERNAL TABLE")[1:]
    assert staging.startswith(" `db`.`inter` (")
    assert "`day` string\n)" in staging
    assert "PARTITIONED BY (`load_id` string)\nSTORED AS PARQUET\n" in staging
    assert "'external.table.purge' = 'true'" in staging
    assert production.startswith(" `db`.`rows` (")


def test_for_files_there_is_no_staging_table() -> None:
    assert in_hive(COLUMNS).count("CREATE EXTERNAL TABLE") == 2


def test_the_history_is_a_table_of_its_own_in_hive_by_the_day_on_which_files_were_done() -> None:
    *_, history = in_hive(COLUMNS, history_table="past").split("CREATE EXTERNAL TABLE")
    assert history.startswith(" `db`.`past` (\n  `host` string,\n  `id` string,")
    assert (
        "  `events` array<struct<at:double,stage:string,status:string,detail:string>>,\n"
        "  `history_batch_id` string\n)\n"
        "PARTITIONED BY (`done_date` string)\nSTORED AS PARQUET\n"
        "TBLPROPERTIES ('external.table.purge' = 'false');" in history
    )
