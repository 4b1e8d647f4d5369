#!/bin/bash
# Becomes a real systemd, as PID 1 of namespaces of its own, over a throw-away overlay of `/`.
# Started by `support.box` in fresh mount, PID, IPC, UTS, network and cgroup namespaces.
#
#   box_init.sh PLACE [SOURCE:TARGET ...]
#
# PLACE holds the overlay's layers; each SOURCE is seen read-only at TARGET.
set -euo pipefail
readonly place=$1 root=$1/root
shift

mount -t overlay box -o "lowerdir=/,upperdir=$place/upper,workdir=$place/work" "$root"

# ------------------------------------------------------------------ kernel file systems

mkdir -p "$root"/{proc,sys,dev,run,tmp}
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
# The host's kernel settings are not the box's to change.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
[[ ! -e $root/proc/sysrq-trigger ]] || mount --bind /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<'DEVICES'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
DEVICES
mkdir "$root"/dev/{pts,shm}
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"

for pair in "$@"; do
    mkdir -p "$root${pair#*:}"
    mount --bind "${pair%%:*}" "$root${pair#*:}"
    mount -o remount,bind,ro "$root${pair#*:}"
done

# ------------------------------------------------------------------ once, at the first boot

first_boot() {
    tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
    echo box >"$root/etc/hostname"
    : >"$root/etc/fstab"
    rm -rf "$root/var/log/journal"
    mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=persistent\nForwardToSyslog=no\n' \
        >"$root/etc/systemd/journald.conf.d/box.conf"
    # None of the host's own services.
    rm -rf "$root"/{etc,lib}/systemd/system/{multi-user,timers,getty}.target.wants
    mkdir -p "$root/etc/systemd/system-generators"
    ln -sf /dev/null "$root/etc/systemd/system-generators/systemd-sysv-generator"
    # What is the host kernel's alone.
    for unit in dev-hugepages.mount sys-fs-fuse-connections.mount sys-kernel-debug.mount \
        sys-kernel-tracing.mount systemd-journald-audit.socket systemd-modules-load.service \
        systemd-networkd.service systemd-sysctl.service systemd-timesyncd.service \
        systemd-udevd.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
}
[[ -e $place/booted ]] || first_boot
touch "$place/booted"

# ------------------------------------------------------------------ the change of root

cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
rmdir /.old
mount --make-rshared /      # else the credentials of units stay empty
# No clock, no modules, no raw devices: those are the host's.
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-mac_admin,-mac_override \
    env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --unit=multi-user.target --show-status=0
