#!/bin/bash
# Installs what one purpose needs and this machine lacks: `scripts/deps.sh build|demo|test|bench|valgrind|deb|deb-13|plugin|e2e...`.
# Debian packages by apt-get (root only), the rest below .cache/. Says nothing when all is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# libcrun's own needs are listed with it, in scripts/libcrun.sh; these are what links against it.
build=(gcc libc6-dev make pkg-config ca-certificates libjson-c-dev libcap-dev libseccomp-dev)
demo=("${build[@]}" busybox-static curl e2fsprogs iproute2 jq mount procps util-linux)
# What scripts/uml-kernel.sh takes.
uml=(bc bison flex gcc make tar xz-utils)
# podman, conmon and crun: our binary as podman's runtime, compared with Debian's. dnsmasq: the server
# that gives containers their addresses. apparmor: the parser.
test=("${demo[@]}" "${uml[@]}" apparmor conmon crun debootstrap dnsmasq-base kmod lzop podman python3 python3-venv qemu-system-x86 tar zstd)
bench=("${build[@]}" busybox-static crun e2fsprogs python3 util-linux wrk)
valgrind=("${build[@]}" valgrind)
deb=("${build[@]}" debhelper dh-apparmor lintian)
plugin=(libperl-critic-perl perl perltidy)
# Installed into the machine: from the archive of its release, see tests/e2e.
e2e=("${deb[@]}" "${uml[@]}" busybox-static debootstrap dpkg-dev e2fsprogs jq)

nextest_version=0.9.143
# Where the collection community.proxmox comes from: 54 MB for the 0.7 MB that is kept of it.
ansible_version=12.3.0

say() { echo "deps: $*"; }

check_host() {
    local os
    os=$(. /etc/os-release && echo "$ID $VERSION_ID") 2>/dev/null || os=unknown
    case $os in
        "debian 12" | "debian 13") ;;
        *) say "this is $os; only Debian 12 and 13 are tried" ;;
    esac
    [ "$(uname -m)" = x86_64 ] || { say "this is $(uname -m); libcrun is pinned for x86_64 only" >&2; exit 1; }
    command -v cargo >/dev/null || { say "cargo is missing: install rustup (https://rustup.rs)" >&2; exit 1; }
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
    local missing=() package
    for package in "$@"; do
        installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "not root, so install these first: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    # The lists may be absent (containers) or name versions that are gone: then refresh and try again.
    if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1; then
        if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
            tail -20 "$log" >&2
            rm -f "$log"
            say "apt-get could not install ${missing[*]}" >&2
            exit 1
        fi
    fi
    rm -f "$log"
}

install_nextest() {
    cargo nextest --version >/dev/null 2>&1 && return 0
    [ -x .cache/cargo/bin/cargo-nextest ] && return 0
    say "building cargo-nextest $nextest_version into .cache/ (once, some minutes)"
    cargo install --quiet --locked --root .cache/cargo "cargo-nextest@$nextest_version"
}

# Below .cache/ so that a container test in the virtual machine finds it by path.
install_python() {
    local pins=tests/clients/requirements.txt venv=.cache/venv
    [ "$(cat "$venv/wanted" 2>/dev/null)" = "$(cat "$pins" && echo "ansible $ansible_version")" ] && return 0
    say "installing the clients of tests/clients into $venv (once, some 20 s and 90 MB)"
    rm -rf "$venv"
    mkdir -p .cache
    # /usr/bin: the one of python3-venv, whatever else is in PATH.
    /usr/bin/python3 -m venv "$venv"
    local pip=("$venv/bin/pip" --quiet --disable-pip-version-check)
    "${pip[@]}" install --requirement "$pins"
    install_collection "$venv" "${pip[@]}"
    { cat "$pins" && echo "ansible $ansible_version"; } >"$venv/wanted"
}

# `ansible` itself would bring 200 MB of other collections.
install_collection() {
    local venv=$1 wheels
    shift
    wheels=$(mktemp -d)
    "$@" download --no-deps --dest "$wheels" "ansible==$ansible_version"
    "$venv/bin/python" - "$wheels"/ansible-*.whl <<'END'
import compileall, site, sys, zipfile

folder = site.getsitepackages()[0]
wheel = zipfile.ZipFile(sys.argv[1])
wanted = [name for name in wheel.namelist() if name.startswith("ansible_collections/community/proxmox/")]
wheel.extractall(folder, wanted)
compileall.compile_dir(folder + "/ansible_collections", quiet=1)
END
    rm -rf "$wheels"
}

# Apart from the clients above: it pins other versions of what they share.
install_schemathesis() {
    local pins=tests/schemathesis/requirements.txt venv=.cache/schemathesis
    cmp -s "$pins" "$venv/wanted" && return 0
    say "installing schemathesis into $venv (once)"
    rm -rf "$venv"
    mkdir -p .cache
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$pins"
    cp "$pins" "$venv/wanted"
}

[ $# -gt 0 ] || { echo "usage: scripts/deps.sh build|demo|test|bench|valgrind|deb|deb-13|plugin|e2e..." >&2; exit 2; }
check_host
for purpose in "$@"; do
    case $purpose in
        build) install_packages "${build[@]}" ;;
        demo) install_packages "${demo[@]}" ;;
        test)
            install_packages "${test[@]}"
            install_nextest
            scripts/lxc.sh
            scripts/lxcfs.sh
            scripts/uml-kernel.sh
            scripts/qemu-kernel.sh
            # The container that boots in tests/tests/containers/system.rs.
            scripts/debian-root.sh system systemd systemd-sysv dbus ifupdown iproute2 kmod procps >/dev/null
            install_python
            install_schemathesis
            ;;
        bench) install_packages "${bench[@]}" ;;
        deb) install_packages "${deb[@]}" ;;
        deb-13) install_packages debootstrap ;;
        plugin) install_packages "${plugin[@]}" ;;
        e2e)
            install_packages "${e2e[@]}"
            scripts/uml-kernel.sh
            ;;
        valgrind) install_packages "${valgrind[@]}" ;;
        *) echo "deps: unknown purpose $purpose" >&2; exit 2 ;;
    esac
done
