#!/bin/bash
# Builds the tests' User Mode Linux, .cache/uml/linux, from Debian's own sources and tests/vm/kernel.config: the one
# Debian packages has a single processor, hence no cpusets, and starts a process some three times slower. Run it
# as often as you like.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

# User Mode Linux has more than one processor from Linux 6.19 on, which is in no stable release yet.
cache=$PWD/.cache/uml suite=sid config=$PWD/tests/vm/kernel.config

fail() {
    echo "uml-kernel: $*" >&2
    exit 1
}

lock_cache "$cache"
! cmp -s "$config" "$cache/linux.config" || exit 0
echo "uml-kernel: building User Mode Linux from the sources of Debian's $suite into .cache/uml (once, some minutes; 164 MB to fetch)"
begin_part "$cache"
mkdir "$part/debs" "$part/source"
debian_download_newest "$cache/apt" "$suite" "$part/debs" linux-source 'linux-source-[0-9.]*' ||
    fail "cannot download the kernel's sources"
dpkg-deb --fsys-tarfile "$part/debs/$newest"_*.deb | tar --extract --to-stdout "./usr/src/$newest.tar.xz" |
    tar --extract --xz --directory "$part/source" --strip-components=1
rm -rf "$part/debs"

# With several processors its vDSO has no getcpu, which rustix takes for granted. Without a vDSO programs ask the kernel.
sed -i 's/^#define ARCH_DLINFO.*/#define ARCH_DLINFO/' "$part/source/arch/x86/um/asm/elf.h"

build() { make --silent -C "$part/source" ARCH=um -j "$(nproc)" "$@" >"$part/log" 2>&1 || { tail -20 "$part/log" >&2; fail "$newest does not build"; }; }
build KCONFIG_ALLCONFIG="$config" alldefconfig
# An option that is no more, or that needs another one, is left out in silence.
lost=$(grep '^CONFIG_' "$config" | grep -vxFf "$part/source/.config" || true)
[ -z "$lost" ] || fail "$newest does not take" $lost
build linux
# The configuration last: without it the kernel is not whole.
mv "$part/source/linux" "$cache/linux"
cp "$config" "$part/linux.config"
mv "$part/linux.config" "$cache/linux.config"
