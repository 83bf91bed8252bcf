# shellcheck shell=sh
# Sourced by scripts that make something once below .cache/, of packages of another Debian release than this
# machine's: apt runs with sources, lists and cache of its own, and the machine's are read only to learn which
# mirror it uses. apt verifies the archive's signature.

# Until the script ends; a second run waits, and then finds the work done.
lock_cache() { # FOLDER [NAME]
    mkdir -p "$1"
    exec 9>"$1/${2:-lock}"
    flock 9
}

# $part: a folder for what is not whole yet. It is gone with the script, however that ends.
begin_part() { # FOLDER
    part=$(mktemp -d "$1/part.XXXXXX")
    trap 'rm -rf "$part"' EXIT
    trap 'exit 1' HUP INT TERM
}

# The mirrors in the machine's apt sources, one-line and deb822 alike, that may carry any release: named
# after Debian, though not its security archive; those that end in /debian/ first. A wrong guess does no
# harm, as only Debian's keyring is trusted below.
debian_mirrors() {
    apt-get update --print-uris | sed -n "s,^'\(.*/\)dists/.*/InRelease' .*,\1,p" |
        grep debian | grep -v security |
        awk '!seen[$0]++ { print (/\/debian\/$/ ? 0 : 1), $0 }' | sort -s -k1,1n | cut -d" " -f2-
}

private_apt() { # PRIVATE COMMAND...
    private=$1
    shift
    # As root apt would drop to the user _apt, who may not enter the folder of a checkout. What is
    # installed here is not to be preferred.
    apt-get --quiet -o Dir::State::status=/dev/null \
        -o Dir::Etc::sourcelist="$private/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$private/lists" -o Dir::Cache="$private/cache" \
        -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        "$@"
}

# Packages (NAME or NAME=VERSION) of a suite into a folder; apt's own files stay in PRIVATE.
debian_download() { # PRIVATE SUITE FOLDER PACKAGE...
    apt_files=$1 apt_suite=$2 apt_folder=$3
    shift 3
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -r "$keyring" ] || { echo "apt: $keyring is missing (package debian-archive-keyring)" >&2; return 1; }
    found=$(debian_mirrors)
    [ -n "$found" ] || { echo "apt: none of this machine's apt sources is a mirror of Debian's main archive" >&2; return 1; }
    mkdir -p "$apt_files/lists/partial" "$apt_files/cache/archives/partial"
    for mirror in $found; do
        echo "deb [arch=amd64 signed-by=$keyring] $mirror $apt_suite main" >"$apt_files/sources.list"
        private_apt "$apt_files" -o APT::Update::Error-Mode=any update || continue
        (cd "$apt_folder" && private_apt "$apt_files" download "$@") || continue
        return 0
    done
    echo "apt: $* of $apt_suite cannot be had from any of: $found" >&2
    return 1
}

# The package that another one, such as linux-image-amd64, only points to; its name is in $newest.
debian_download_newest() { # PRIVATE SUITE FOLDER PACKAGE PATTERN
    debian_download "$1" "$2" "$3" "$4" || return 1
    newest=$(dpkg-deb --field "$3/$4"_*.deb Depends | grep -o "$5" | head -1)
    [ -n "$newest" ] || { echo "apt: $4 of $2 depends on nothing like $5" >&2; return 1; }
    debian_download "$1" "$2" "$3" "$newest"
}
