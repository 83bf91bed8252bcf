#!/bin/bash
# Unpacks Debian 12's own kernel into .cache/qemu: the image, the modules that tests need, and an initial file
# system that takes this machine's files for its root. tests/vm/run --qemu boots it for what User Mode Linux
# cannot have: huge pages. Run it as often as you like.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/apt.sh
. scripts/apt.sh

cache=$PWD/.cache/qemu suite=bookworm
# To reach the root; in this order.
early=(virtio virtio_ring virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci netfs fscache 9pnet 9pnet_virtio 9p)
# What tests/vm/init loads.
late=(loop ext4 overlay fuse veth bridge dummy 8021q sch_htb sch_ingress cls_u32 act_police quota_v2)

fail() {
    echo "qemu-kernel: $*" >&2
    exit 1
}

lock_cache "$cache"
[ ! -e "$cache/tree/vmlinuz" ] || exit 0
echo "qemu-kernel: unpacking a kernel of Debian's $suite into .cache/qemu (once, 70 MB to fetch)"
begin_part "$cache"
mkdir -p "$part"/{debs,whole,tree,initrd/{bin,modules,proc,root,dev}}
debian_download_newest "$cache/apt" "$suite" "$part/debs" linux-image-amd64 'linux-image-[0-9][^ ,]*-amd64' ||
    fail "cannot download a kernel"
dpkg-deb --extract "$part/debs/$newest"_*.deb "$part/whole"
release=${newest#linux-image-}
# modprobe knows what needs what once this is written.
depmod --basedir "$part/whole" "$release"

module() { find "$part/whole/lib/modules/$release" -name "$1.ko" -print -quit; }
number=10
for name in "${early[@]}"; do
    file=$(module "$name")
    [ -n "$file" ] || fail "this kernel has no module $name"
    cp "$file" "$part/initrd/modules/$number.ko"
    number=$((number + 1))
done
for name in "${late[@]}"; do
    modprobe --dirname "$part/whole" --set-version "$release" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | sort -u | while read -r file; do
    place=$part/tree/${file#"$part/whole/"}
    mkdir -p "$(dirname "$place")"
    cp "$file" "$place"
done
cp "$part/whole/lib/modules/$release"/modules.{builtin,builtin.modinfo,order} "$part/tree/lib/modules/$release/"
depmod --basedir "$part/tree" "$release"

cp "$(command -v busybox)" "$part/initrd/bin/"
cat >"$part/initrd/init" <<'END'
#!/bin/busybox sh
# $LXCRI_INIT and what it wants to know are words of the kernel's command line.
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose machine /root
exec /bin/busybox switch_root /root "$LXCRI_INIT"
END
chmod +x "$part/initrd/init"
(cd "$part/initrd" && busybox find . | busybox cpio -o -H newc 2>/dev/null | gzip) >"$part/tree/initrd"
cp "$part/whole/boot/vmlinuz-$release" "$part/tree/vmlinuz"
rm -rf "$cache/tree"
mv "$part/tree" "$cache/tree"
