#!/bin/bash
# Builds dist/backupd_<version>_<architecture>.deb for Debian 12, with debhelper, out of a copy of
# packaging/debian below build/. Installs what it needs for that, and says what.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly work=build/deb

. packaging/apt.sh

readonly python=/usr/bin/python3.11

# Prints the Debian packages that are not there yet, a line each.
missing_packages() {
    has_program dh || echo debhelper
    can_make_environments "$python" || echo python3.11-venv
    has_headers "$python" || echo python3.11-dev
    missing_for_compiling
    missing_for_gssapi
}

install_missing() {
    local packages
    mapfile -t packages < <(missing_packages)
    ((${#packages[@]} == 0)) || install_packages "${packages[@]}"
}

# Debian's form asks for who and when; what changed stands in CHANGELOG.md.
changelog() {
    local version when
    version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
    when=$(git log -1 --format=%cD 2>/dev/null || date --rfc-email)
    printf 'backupd (%s) stable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' \
        "$version" "$(sed -n 's/^Maintainer: //p' packaging/debian/control)" "$when"
}

prepare() {
    rm -rf "$work"
    mkdir -p "$work" dist
    cp -r packaging/debian "$work"
    cp packaging/systemd/backupd.service "$work/debian"
    cp packaging/systemd/sysusers.d/backupd.conf "$work/debian/backupd.sysusers"
    cp packaging/systemd/tmpfiles.d/backupd.conf "$work/debian/backupd.tmpfiles"
    changelog >"$work/debian/changelog"
}

# What debhelper prints is long and of interest only when it fails.
build() {
    local output
    output=$(cd "$work" && dpkg-buildpackage --build=binary --no-sign 2>&1) ||
        die "dpkg-buildpackage failed:"$'\n'"$output"
    mv build/backupd_*.deb dist/
    rm -rf "$work" build/backupd_*.{buildinfo,changes}
}

install_missing
prepare
say "building; this takes two or three minutes, one of them for gssapi"
build
say "built $(ls dist/backupd_*.deb)"
