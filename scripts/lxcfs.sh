#!/bin/bash
# Unpacks Debian's lxcfs, which shows a container its own figures, into .cache/lxcfs for container tests: as
# a package it would bring a service and mount itself, and this may be somebody's machine. Run it as often
# as you like.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

cache=$PWD/.cache/lxcfs
# Of Debian 12: its program also runs on 13.
suite=bookworm packages="lxcfs libfuse3-3"

lock_cache "$cache"
[ ! -x "$cache/tree/lxcfs" ] || exit 0
echo "lxcfs: unpacking lxcfs of Debian's $suite into .cache/lxcfs (once)"
begin_part "$cache"
mkdir "$part/debs" "$part/tree"
# shellcheck disable=SC2086 # a list of words
debian_download "$cache/apt" "$suite" "$part/debs" $packages ||
    { echo "lxcfs: cannot download $packages of Debian's $suite" >&2; exit 1; }
for package in "$part"/debs/*.deb; do dpkg-deb --extract "$package" "$part/tree"; done
libraries=$(cd "$part/tree" && find . -name '*.so*' -printf '%h\n' | sort -u | sed 's,^\.,$here,' | paste -sd:)
# By where it lies, as the checkout may be moved.
cat >"$part/tree/lxcfs" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
LD_LIBRARY_PATH="$libraries" exec "\$here/usr/bin/lxcfs" "\$@"
END
chmod +x "$part/tree/lxcfs"
rm -rf "$cache/tree"
mv "$part/tree" "$cache/tree"
"$cache/tree/lxcfs" --version >/dev/null || { echo "lxcfs: it does not run here" >&2; exit 1; }
