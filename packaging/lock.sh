#!/bin/bash
# Writes the lock files out of pyproject.toml: versions and hashes for every platform and every
# Python that the project runs on. Arguments go to uv: --upgrade takes the newest versions.
set -euo pipefail
cd "$(dirname "$0")/.."

compile() {
    local lock=$1
    shift
    "${VENV:-.venv}/bin/uv" pip compile pyproject.toml --group build --quiet \
        --universal --python-version 3.11 --generate-hashes \
        --custom-compile-command "make lock" --output-file "$lock" "$@"
}

compile requirements.lock "$@"
# The same versions, so that the tests run on what the daemon runs on.
compile requirements-dev.lock --extra dev --group build-gssapi --constraint requirements.lock "$@"
# And again the same, with Kerberos.
compile requirements-kerberos.lock --extra kerberos --group build-gssapi \
    --constraint requirements-dev.lock "$@"
