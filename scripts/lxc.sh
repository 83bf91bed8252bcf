#!/bin/bash
# Unpacks Debian's LXC into .cache/lxc/SUITE for container tests: 5.0 of Debian 12 and 6.0 of Debian 13,
# whichever of them this machine is, each with a wrapper per tool. As a package it would bring services of
# its own and a dnsmasq, and this may be somebody's machine.
#
# A tool of another release wants that release's C library, and its loader is found by an absolute path:
# the wrapper shows both in a mount namespace of its own. Run it as often as you like.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

cache=$PWD/.cache/lxc
common="lxc liblxc-common libapparmor1 libc6 libcap2 libgcc-s1 libpcre2-8-0 libseccomp2 libselinux1"
declare -A packages=(
    [bookworm]="$common liblxc1"
    [trixie]="$common liblxc1t64 libdbus-1-3 libssl3t64 libsystemd0 libzstd1 zlib1g"
)

fail() {
    echo "lxc: $*" >&2
    exit 1
}

unpack() { # SUITE
    local suite=$1 package tool
    echo "lxc: unpacking LXC of Debian's $suite into .cache/lxc/$suite (once)"
    begin_part "$cache"
    mkdir "$part/debs" "$part/tree"
    # shellcheck disable=SC2086 # a list of words
    debian_download "$cache/apt/$suite" "$suite" "$part/debs" ${packages[$suite]} ||
        fail "cannot download ${packages[$suite]} of Debian's $suite"
    for package in "$part"/debs/*.deb; do dpkg-deb --extract "$package" "$part/tree"; done
    # Where a package still has /lib, as those of Debian 12 have.
    if [ -d "$part/tree/lib" ]; then
        cp -a "$part/tree/lib/." "$part/tree/usr/lib/"
    fi
    for tool in "$part"/tree/usr/bin/lxc-*; do
        wrapper "$(basename "$tool")" >"$part/tree/$(basename "$tool")"
        chmod +x "$part/tree/$(basename "$tool")"
    done
    rm -rf "${cache:?}/$suite"
    mv "$part/tree" "$cache/$suite"
    rm -rf "$part"
    "$cache/$suite/lxc-info" --version >/dev/null || fail "LXC of Debian's $suite does not run here"
}

# By where it lies, as the checkout may be moved.
wrapper() { # TOOL
    local libraries
    libraries=usr/lib/$(gcc -print-multiarch)
    cat <<END
#!/bin/sh
exec unshare --mount --propagation slave sh -c 'mount --bind "\$0/$libraries" /$libraries && exec "\$0/usr/bin/$1" "\$@"' \\
    "\$(dirname "\$(readlink -f "\$0")")" "\$@"
END
}

lock_cache "$cache"
for suite in "${!packages[@]}"; do
    [ -x "$cache/$suite/lxc-start" ] || unpack "$suite"
done
