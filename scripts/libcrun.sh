#!/bin/sh
# Puts libcrun.a, from Debian's package crun, into .cache/libcrun/VERSION/ and sees to the packages that
# linking it takes. Run it as often as you like: what is there and intact is kept.
#
# The package comes from unstable, which this machine need not have in its apt sources: apt runs here
# with sources, lists and cache of its own below .cache, and the machine's are read only to learn which
# mirror it uses. apt verifies the archive's signature; the checksums below pin the very bytes.
set -eu

version=1.28-1
deb_sha256=20fbc3d0544d5c78e98fda1f02eed07d92529b1b82b6fe657d0c865b4a654cef
lib_sha256=1eda8fe3e387a27bad7aaff9bcc4c7502778cb949a343202423098c9dede570b

suite=sid
packages="gcc libc6-dev libjson-c-dev libcap-dev libseccomp-dev"

root=$(cd "$(dirname "$0")/.." && pwd)
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

# The mirrors in the machine's apt sources, one-line and deb822 alike, that may carry unstable: named
# after Debian, though not its security archive; those that end in /debian/ first. A wrong guess does no
# harm, as only Debian's keyring is trusted below.
mirrors() {
    apt-get update --print-uris | sed -n "s,^'\(.*/\)dists/.*/InRelease' .*,\1,p" |
        grep debian | grep -v security |
        awk '!seen[$0]++ { print (/\/debian\/$/ ? 0 : 1), $0 }' | sort -s -k1,1n | cut -d" " -f2-
}

private_apt() { # COMMAND...
    # As root apt would drop to the user _apt, who may not enter the folder of a checkout.
    apt-get --quiet \
        -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$private/lists" -o Dir::Cache="$private/cache" \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        "$@"
}

download() { # FOLDER
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || fail "$keyring is missing (package debian-archive-keyring)"
    found=$(mirrors)
    [ -n "$found" ] || fail "none of this machine's apt sources is a mirror of Debian's main archive"
    mkdir -p "$private/lists/partial" "$private/cache/archives/partial"
    for mirror in $found; do
        echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >"$private/sources.list"
        private_apt -o APT::Update::Error-Mode=any update || continue
        (cd "$1" && private_apt download "crun=$version") || continue
        return 0
    done
    fail "crun $version cannot be had from any of: $found"
}

fetch() {
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "the pinned archive is for amd64"
    part=$(mktemp -d "$cache/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 1' HUP INT TERM
    deb=$cache/$version/crun.deb
    if ! intact "$deb" "$deb_sha256"; then
        download "$part"
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
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # a second run waits, and then finds the work done
if ! intact "$target" "$lib_sha256"; then
    fetch
fi
echo "libcrun: $target"
