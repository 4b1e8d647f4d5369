#!/bin/bash
# Sets up what `make` needs, once: system packages, the virtual environment, the locked packages.
#
#   packaging/setup.sh demo     what the daemon itself runs on
#   packaging/setup.sh test     that, and what the checks, the tests and the bench need
#   packaging/setup.sh hadoop   that, and what runs a real HDFS and Hive, with Kerberos
#   packaging/setup.sh system   the tests', and what boots a real systemd and judges the package
#   packaging/setup.sh faults   the tests', and file systems, clocks and servers to be attacked with
#
# A stamp in the environment tells what it was made from; while that stays the same, this ends at
# once. VENV names the environment (default .venv), PYTHON the interpreter (default: the first one
# in PATH that is new enough).
set -euo pipefail
cd "$(dirname "$0")/.."

readonly purpose=${1:?"usage: packaging/setup.sh demo|test|hadoop|system|faults"}
readonly venv=${VENV:-.venv}
readonly stamp=$venv/.ready-for-$purpose

case $purpose in
demo) locks=(requirements.lock) ;;
test | system | faults) locks=(requirements-dev.lock) ;;
hadoop) locks=(requirements-dev.lock requirements-kerberos.lock) ;;
*) echo "setup: '$purpose' is neither demo, test, hadoop, system nor faults" >&2 && exit 2 ;;
esac

. packaging/apt.sh

# What the environment is made from: the same text means that nothing has to be done. The directory
# is part of it because a checkout that was moved left its environment pointing to the old place.
ingredients() { pwd && sha256sum "$@" pyproject.toml packaging/{apt,setup}.sh; }
is_ready() {
    [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$(ingredients "${locks[@]}")" ]]
}

# ------------------------------------------------------------------ system packages

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$candidate"; then echo "$candidate" && return; fi
    done
}

# Prints the Debian packages that are not there yet, a line each.
missing_packages() {
    local python=$1
    if [[ -z $python ]]; then
        printf '%s\n' python3 python3-venv python3-dev
    else
        can_make_environments "$python" || of_version "$python" venv
        has_headers "$python" || of_version "$python" dev
    fi
    missing_for_compiling
    [[ $purpose != hadoop ]] || missing_for_hadoop
    [[ $purpose != system ]] || missing_for_box
    [[ $purpose != faults ]] || missing_for_faults
    [[ $purpose != demo ]] || return 0
    has_program sshd || echo openssh-server   # the tests ship to a real server on loopback
    has_program ssh-keygen || echo openssh-client
    has_program ps || echo procps
    has_program dropbear || echo dropbear-bin # and to servers of other makers
    has_program proftpd || printf '%s\n' proftpd-core proftpd-mod-crypto
    has_program strace || echo strace         # makes a system call fail, or the process die in it
    [[ -e /usr/share/i18n/locales/en_US ]] || echo locales     # what a locale is made from
    has_program rclone || echo rclone         # such a server too; the bench compares with these two
    has_program igzip || echo isal
}

of_version() { "$1" -c "import sys; print('python%d.%d-$2' % sys.version_info[:2])"; }

# The box has the host's programs, the service in it the host's Python.
missing_for_box() {
    has_program lintian || echo lintian
    has_program man || echo man-db
    [[ -x /lib/systemd/systemd ]] || echo systemd
    [[ -x /usr/bin/python3 ]] || echo python3
    has_program nsenter || echo util-linux
}

missing_for_hadoop() {
    has_program java || echo openjdk-17-jre-headless
    has_program mvn || echo maven             # resolves the jars, once
    has_program slapd || echo slapd           # HiveServer2 asks it who may log in
    has_program krb5kdc || echo krb5-kdc      # and this one for tickets
    has_program kadmin.local || echo krb5-admin-server
    has_program kinit || echo krb5-user
    missing_for_gssapi
}

missing_for_faults() {
    has_program mkfs.ext4 || echo e2fsprogs   # file systems of their own, whose power is cut
    has_program mkfs.xfs || echo xfsprogs
    has_program losetup || echo mount
    has_program rsync || echo rsync           # a sender that writes in place
    has_program javac || echo openjdk-17-jdk-headless
    has_program mvn || echo maven             # resolves Apache MINA's SFTP server, once
}

# The tests start servers of their own. Debian starts a system-wide one with the package, unless
# this file, which its unit looks for, is there first.
keep_sshd_from_starting() {
    say "openssh-server is for the tests alone: /etc/ssh/sshd_not_to_be_run keeps it from" \
        "running as a service (remove that file if you want one)"
    as_root mkdir -p /etc/ssh
    as_root touch /etc/ssh/sshd_not_to_be_run
}

# Prints the units that these packages would start, and that no file keeps from it.
units_of() {
    local package
    for package in "$@"; do
        case $package in
        proftpd-core) echo proftpd.service ;;
        krb5-kdc | krb5-admin-server) echo "$package.service" ;;
        esac
    done
}

# Masked, systemd leaves it alone.
mask() {
    say "${1%.service} is for the tests alone: its unit is masked (systemctl unmask $1" \
        "if you want the service)"
    as_root mkdir -p /etc/systemd/system
    as_root ln -sfT /dev/null "/etc/systemd/system/$1"
}

# Where there is no systemd, a package's own script would start its service, unless a policy
# forbids that while it is installed.
install_without_starting() {
    local policy=/usr/sbin/policy-rc.d forbidden=
    if [[ ! -e $policy ]]; then
        forbidden=yes
        as_root install -m 755 <(printf '#!/bin/sh\nexit 101\n') "$policy"
    fi
    install_packages "$@"
    [[ -z $forbidden ]] || as_root rm -f "$policy"
}

# Left without a configuration, the system-wide one that comes with the package does not start.
keep_slapd_from_starting() {
    say "slapd is for the tests alone: it is installed without a configuration, and not started"
    as_root debconf-set-selections <<<'slapd slapd/no_configuration boolean true'
}

# ------------------------------------------------------------------ virtual environment

pip_install() { "$venv/bin/python" -m pip --disable-pip-version-check install --quiet "$@"; }

# An environment that was moved, or whose interpreter was removed or replaced, is made anew: its
# commands would start another one.
is_sound() {
    new_enough "$venv/bin/python" &&
        [[ $(grep '^command = ' "$venv/pyvenv.cfg") == *" $(realpath "$venv")" ]]
}

make_environment() {
    local python=$1
    if ! is_sound; then
        say "making the virtual environment $venv with $("$python" --version)"
        "$python" -m venv --clear "$venv"
    fi
    say "installing the packages of ${locks[0]} into $venv"
    pip_install --require-hashes --requirement "${locks[0]}"
    [[ $purpose != hadoop ]] || install_gssapi
    # setuptools is locked like all others: with isolation pip would fetch one of its own choice.
    pip_install --no-deps --no-build-isolation --editable .
}

# Cython, which compiles it, is locked and was installed with the others.
install_gssapi() {
    say "compiling gssapi, which takes a minute or two"
    pip_install --require-hashes --no-build-isolation --check-build-dependencies \
        --requirement requirements-kerberos.lock
}

set_up() {
    local python packages units unit
    [[ -z ${PYTHON:-} ]] || new_enough "$PYTHON" || die "PYTHON=$PYTHON is not Python 3.11 or later"
    python=$(find_python)
    mapfile -t packages < <(missing_packages "$python")
    if ((${#packages[@]})); then
        [[ " ${packages[*]} " != *" openssh-server "* ]] || keep_sshd_from_starting
        [[ " ${packages[*]} " != *" slapd "* ]] || keep_slapd_from_starting
        mapfile -t units < <(units_of "${packages[@]}")
        for unit in "${units[@]}"; do mask "$unit"; done
        if ((${#units[@]})); then
            install_without_starting "${packages[@]}"
        else
            install_packages "${packages[@]}"
        fi
        python=$(find_python)
    fi
    [[ -n $python ]] || die "found no Python 3.11 or later; set PYTHON to one"
    make_environment "$python"
    if [[ $purpose != demo ]]; then # what serves the tests serves the demo as well
        ingredients requirements.lock >"$venv/.ready-for-demo"
        ingredients requirements-dev.lock >"$venv/.ready-for-test"
    fi
    ingredients "${locks[@]}" >"$stamp"
    say "done; the next run starts at once"
}

is_ready && exit
# Two makes at once: the second waits, and then finds the work done.
exec 9<packaging/setup.sh
flock 9
is_ready || set_up
