# Sourced by the scripts beside it: what they say, and how they install system packages.

say() { echo "$(basename "$0" .sh): $*" >&2; }
die() { say "$*" && exit 1; }

# `sshd` lies in a directory that is not in every user's PATH.
has_program() { PATH=$PATH:/usr/sbin:/sbin type -P "$1" >/dev/null; }

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# Installs Debian packages, saying which, as root or with sudo.
install_packages() {
    has_program apt-get || die "needs $*, and knows no way to install them here but apt-get"
    ((EUID == 0)) || has_program sudo || die "needs root once, for: apt-get install $*"
    say "installing system packages: $*"
    # What apt prints is long and of interest only when it fails.
    local output
    output=$(apt_install "$@" 2>&1) || die "apt-get failed:"$'\n'"$output"
}

apt_install() {
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -qq -y --no-install-recommends "$@"
}

can_make_environments() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

has_headers() {
    "$1" -c 'import sys, sysconfig, os
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}

# Prints what is missing to compile systemd-python against libsystemd, a package a line.
missing_for_compiling() {
    has_program gcc || printf '%s\n' gcc libc6-dev
    has_program pkg-config || echo pkg-config
    pkg-config --exists libsystemd 2>/dev/null || echo libsystemd-dev
}

# Prints what is missing to compile gssapi against MIT Kerberos as well.
missing_for_gssapi() { has_program krb5-config || echo libkrb5-dev; }
