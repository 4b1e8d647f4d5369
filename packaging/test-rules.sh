#!/bin/bash
# Tries the alerting rules with promtool: that of the PATH, else the one out of Debian's package
# `prometheus`, which is only unpacked, since to install it would start a server.
set -euo pipefail
cd "$(dirname "$0")/.."
kept=$(realpath "${VENV:-.venv}")/bin/promtool
cd packaging/prometheus

fetch() {
    local place
    place=$(mktemp -d)
    trap 'rm -rf "$place"' RETURN
    echo "test-rules: taking promtool out of the package prometheus" >&2
    (cd "$place" && apt-get -o APT::Sandbox::User=root -qq download prometheus)
    dpkg-deb --fsys-tarfile "$place"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$kept.new"
    chmod +x "$kept.new"
    mv "$kept.new" "$kept"
}

promtool=$(type -P promtool || true)
if [[ -z $promtool ]]; then
    [[ -x $kept ]] || fetch
    promtool=$kept
fi
"$promtool" check rules backupd.rules.yml
"$promtool" test rules backupd.rules.test.yml
