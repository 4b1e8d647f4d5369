#!/bin/bash
# What backupd replaces: the nightly job, a step after the other, without its Hive statements.
#
#   old_job.sh MANIFEST SSH_CONFIG ARCHIVE FEED_DIRECTORY...
set -euo pipefail
manifest=$1 ssh_config=$2 archive=$3
shift 3

for feed in "$@"; do
    customer=$(basename "$feed")
    file_type=$(basename "$(dirname "$feed")")
    for file in "$feed"/*.csv; do
        records=$(wc -l <"$file")
        size=$(stat -c %s "$file")
        sum=$(cksum <"$file")
        echo "$customer;$file_type;${file##*/};$records;$size;${sum% *}"
    done
done >"$manifest"

for feed in "$@"; do
    target=$archive/$(basename "$(dirname "$feed")")/$(basename "$feed")
    cd "$feed"
    gzip ./*.csv
    ssh -F "$ssh_config" archive mkdir -p "$target"
    scp -q -F "$ssh_config" ./*.gz "archive:$target/"
    rm ./*.gz
done
