#!/bin/sh
# Puts libcrun.a, from Debian's package crun, into .cache/libcrun/VERSION/ and sees to the packages that
# linking it takes. Run it as often as you like: what is there and intact is kept.
#
# The package comes from unstable, which this machine need not have in its apt sources: see apt.sh. The
# checksums below pin the very bytes.
set -eu

version=1.28-1
deb_sha256=20fbc3d0544d5c78e98fda1f02eed07d92529b1b82b6fe657d0c865b4a654cef
lib_sha256=1eda8fe3e387a27bad7aaff9bcc4c7502778cb949a343202423098c9dede570b

suite=sid
packages="gcc libc6-dev libjson-c-dev libcap-dev libseccomp-dev"

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=scripts/apt.sh
. "$root/scripts/apt.sh"
cache=$root/.cache/libcrun
private=$cache/apt
target=$cache/$version/libcrun.a

fail() {
    echo "libcrun: $*" >&2
    exit 1
}

intact() { # FILE SHA256
    [ -f "$1" ] && echo "$2  $1" | sha256sum --check --status
}

installed() { # PACKAGE
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

need_packages() {
    missing=
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || fail "these packages are missing:$missing (as root: apt-get install$missing)"
    echo "libcrun: installing$missing"
    # shellcheck disable=SC2086 # a list of words
    apt_install $missing || {
        apt-get update && apt_install $missing
    } || fail "cannot install$missing"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

fetch() {
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "the pinned archive is for amd64"
    begin_part "$cache"
    deb=$cache/$version/crun.deb
    if ! intact "$deb" "$deb_sha256"; then
        debian_download "$private" "$suite" "$part" "crun=$version" || fail "cannot download crun $version"
        mv "$part"/crun_*.deb "$part/crun.deb"
        intact "$part/crun.deb" "$deb_sha256" || fail "crun $version has another SHA-256 than the pinned $deb_sha256"
        mkdir -p "$cache/$version"
        mv "$part/crun.deb" "$deb"
    fi
    dpkg -x "$deb" "$part/tree"
    found=$(find "$part/tree" -name libcrun.a)
    [ -n "$found" ] || fail "crun $version contains no libcrun.a"
    intact "$found" "$lib_sha256" || fail "libcrun.a of crun $version has another SHA-256 than the pinned $lib_sha256"
    mv "$found" "$target" # the same file system: whole or not at all
}

need_packages
lock_cache "$cache"
if ! intact "$target" "$lib_sha256"; then
    fetch
fi
echo "libcrun: $target"
