#!/bin/bash
# Runs a command in this checkout on Debian 13, whatever Debian this machine has: in a root of its own,
# below .cache/debian-13, with this machine's Rust toolchain and crates, and target/debian-13 for its target/.
# What scripts/deps.sh installs there stays there.
#
#   scripts/debian-13.sh COMMAND [ARGUMENT]...
#
# Needs root and debootstrap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

fail() {
    echo "debian-13: $*" >&2
    exit 1
}

[ $# -gt 0 ] || { echo "usage: scripts/debian-13.sh COMMAND [ARGUMENT]..." >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "not root"
toolchain=$(rustc --print sysroot) || fail "rustc is missing: install rustup (https://rustup.rs)"

project=$PWD target=$PWD/target/debian-13 cache=$PWD/.cache/debian-13
root=$cache/root
mkdir -p "$target"
lock_cache "$cache" # a second command waits: both would build in the same place
if [ ! -e "$cache/made" ]; then
    tar=$(scripts/debian-root.sh build ca-certificates)
    rm -rf "$root"
    mkdir -m 755 "$root"
    tar --extract --numeric-owner --xattrs --xattrs-include='*' --file "$tar" --directory "$root"
    mirror=$(debian_mirrors | head -1)
    echo "deb $mirror trixie main" >"$root/etc/apt/sources.list"
    touch "$cache/made"
fi

# Packages and crates may have to be fetched.
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
crates=${CARGO_HOME:-$HOME/.cargo}
mkdir -p "$root$crates" "$root$toolchain" "$root$project"

# What is mounted and what still runs is gone with the command: both are in namespaces of its own.
export PATH=$toolchain/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# shellcheck disable=SC2016 # for the shell in there
exec unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
    root=$1 target=$2 crates=$3 toolchain=$4 project=$5
    shift 5
    mount --make-rprivate /
    for folder in "$crates" "$toolchain" "$project"; do mount --rbind "$folder" "$root$folder"; done
    mount --bind "$target" "$root$project/target"
    mount --rbind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    exec </dev/null chroot "$root" /usr/bin/env --chdir="$project" "$@"
' - "$root" "$target" "$crates" "$toolchain" "$project" "$@"
