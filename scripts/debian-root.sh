#!/bin/bash
# Makes .cache/debian-root/NAME.tar: the root of a minimal Debian 13 with some more packages, by
# debootstrap, from this machine's own mirror. What is there already, with the same packages, is kept.
#
#   scripts/debian-root.sh NAME PACKAGE...
#
# Prints nothing but the file's path on standard output. Needs root and debootstrap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

suite=trixie
cache=$PWD/.cache/debian-root

fail() {
    echo "debian-root: $*" >&2
    exit 1
}

[ $# -gt 0 ] || { echo "usage: scripts/debian-root.sh NAME PACKAGE..." >&2; exit 2; }
name=$1
shift
wanted="$suite $*"
tar=$cache/$name.tar

lock_cache "$cache" "$name.lock"
if [ -f "$tar" ] && [ "$(cat "$cache/$name.wanted" 2>/dev/null)" = "$wanted" ]; then
    echo "$tar"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "not root"
command -v debootstrap >/dev/null || fail "debootstrap is missing (apt-get install debootstrap)"

echo "debian-root: making $name of Debian's $suite (once, about a minute)" >&2
begin_part "$cache"
chmod 755 "$part" # it becomes /
include=$(IFS=,; echo "$*")
made=
for mirror in $(debian_mirrors); do
    rm -rf "$part/root"
    mkdir -m 755 "$part/root"
    # In a mount namespace of its own: what it mounts inside is gone with it, however it ends.
    if unshare --mount debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        ${include:+--include="$include"} "$suite" "$part/root" "$mirror" >"$part/log" 2>&1; then
        made=yes
        break
    fi
done
[ "$made" ] || { [ ! -e "$part/log" ] || tail -5 "$part/log" >&2; fail "debootstrap failed with every mirror of this machine's apt sources"; }
rm -rf "$part"/root/var/lib/apt/lists/* "$part"/root/var/cache/apt/*.bin "$part"/root/var/cache/apt/archives/*.deb
# The mirror is this machine's, and so are its name and its resolver.
rm -f "$part/root/etc/apt/sources.list" "$part/root/etc/hostname" "$part/root/etc/resolv.conf"
# An id of its own for each machine that is made of it.
: >"$part/root/etc/machine-id"
tar --create --numeric-owner --xattrs --file "$part/tar" --directory "$part/root" .
mv "$part/tar" "$tar"
echo "$wanted" >"$cache/$name.wanted"
echo "$tar"
