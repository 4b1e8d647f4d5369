#!/bin/bash
# Runs every check, a line each with its result, whether or not an earlier one failed. What a check
# has to say is shown when it fails. Ends with 1 if any failed.
set -uo pipefail
cd "$(dirname "$0")/.."
readonly bin=${VENV:-.venv}/bin
failed=0

check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf '%-22s ok\n' "$name"
    else
        printf '%-22s FAILED: %s\n' "$name" "$*"
        sed 's/^/    /' <<<"$output"
        failed=1
    fi
}

sample_config() {
    "$bin/python" -m backupd.config.sample | diff -u config.toml -
}

check "format"              "$bin/ruff" format --check
check "lint"                "$bin/ruff" check --output-format concise
check "types"               "$bin/mypy"
check "walls"               "$bin/lint-imports" --no-cache
check "dead code"           "$bin/vulture"
check "dead code in tests"  "$bin/vulture" daemon tests packaging
check "config.toml"         sample_config
exit "$failed"
