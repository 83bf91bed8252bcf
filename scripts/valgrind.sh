#!/bin/sh
# Runs libcrun's tests with real containers under valgrind, worker processes included, and fails on any
# memory error or definite leak of ours. Needs root; `make libcrun` and the package valgrind before.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
suppressions=$root/scripts/valgrind.supp

fail() {
    echo "valgrind: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, for mount namespaces and containers"
command -v valgrind >/dev/null || fail "is not installed (package valgrind)"

cd "$root"
binary=$(cargo test --package libcrun --test live --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/live-[^"]*\)".*/\1/p')
[ -x "$binary" ] || fail "cargo did not build the test"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# libcrun re-executes the program unless it runs from a read-only mount, and would shed valgrind then.
# Exit status 99 is valgrind's own, for errors in the first process; the log tells of the workers'. It is
# one for all, as a process that has joined a container could not open one of its own.
mkdir "$work/bin"
status=0
unshare --mount --propagation private sh -eu -c '
    mount --bind "$1" "$2/bin"
    mount -o remount,bind,ro "$2/bin"
    exec valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --trace-children=no --child-silent-after-fork=no --error-exitcode=99 --num-callers=30 \
        --suppressions="$3" --log-file="$2/log" "$2/bin/$4"
' sh "$(dirname "$binary")" "$work" "$suppressions" "$(basename "$binary")" || status=$?

# valgrind 3.19 does not know the newest system calls and says so; libcrun then does without, as on an old
# kernel.
grep -Ev '^--[0-9]+-- (WARNING: unhandled amd64-linux syscall|You may be able|Read the file|Nevertheless|it at http)' \
    "$work/log" >"$work/report" || true
cat "$work/report"
[ "$status" = 0 ] || fail "the tests ended with status $status"
[ ! -s "$work/report" ] || fail "the workers had errors, see above"
echo "valgrind: no errors, no definite leaks"
