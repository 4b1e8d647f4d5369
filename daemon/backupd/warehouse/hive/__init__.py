"""The production table in Hive: HiveServer2, staged files on HDFS, Impala."""
