#!/bin/bash
# A container's life through the REST API, with nothing but the release binaries, busybox, curl and
# jq: a daemon on a root of its own, TLS on loopback, create, start, look, read, stop, destroy.
# Leaves nothing behind, whatever happens. `make demo` builds first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bin=${LXCRI_BIN:-$PWD/target/release}
node=demo
started=$SECONDS

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
step() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s   %s%s\n' "$dim" "$*" "$plain"; }
fail() { printf '\ndemo: FAILED: %s\n' "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "containers need root"
for tool in curl jq tar; do command -v "$tool" >/dev/null || fail "$tool is missing; scripts/deps.sh demo installs it"; done
for binary in proxmox-lxcri lxcri-monitor lxcri-lxc-monitor; do
    [ -x "$bin/$binary" ] || fail "$bin/$binary is missing; make build makes it"
done

root=$(mktemp -d /tmp/lxcri-demo.XXXXXX)
chmod 711 "$root" # an unprivileged container's root passes through it to its rootfs
daemon=
cleanup() {
    local status=$?
    set +e
    if [ "$status" != 0 ] && [ -s "$root/daemon.log" ]; then
        printf '\nthe daemon said:\n' >&2
        tail -20 "$root/daemon.log" >&2
    fi
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null
        wait "$daemon" 2>/dev/null
    fi
    # A container of a demo that failed half way; the monitor's own clean-up ends it.
    for conf in "$root"/etc/pve/nodes/$node/lxc/*.conf; do
        [ -e "$conf" ] && "$bin/lxcri-monitor" cleanup --root "$root" --node $node "$(basename "$conf" .conf)" >/dev/null 2>&1
    done
    rm -rf --one-file-system "$root"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

step "a root filesystem: Debian's busybox-static and nothing else"
busybox=$(command -v busybox) || fail "busybox-static is missing; scripts/deps.sh demo installs it"
mkdir -p "$root"/fs/{bin,dev,etc,proc,root,run,sys,tmp} "$root/var/lib/vz/template/cache"
cp "$busybox" "$root/fs/bin/busybox"
for applet in sh cat echo grep hostname id ls ps sleep uname; do ln -s busybox "$root/fs/bin/$applet"; done
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/fs/etc/passwd"
tar --owner=0 --group=0 -C "$root/fs" -czf "$root/var/lib/vz/template/cache/busybox.tar.gz" .
note "$(du -h "$root/var/lib/vz/template/cache/busybox.tar.gz" | cut -f1) local:vztmpl/busybox.tar.gz"

step "the daemon, on a root of its own, TLS on loopback"
for attempt in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    "$bin/proxmox-lxcri" serve --root "$root" --node $node --listen 127.0.0.1:$port 2>"$root/daemon.log" &
    daemon=$!
    for _ in $(seq 100); do
        kill -0 "$daemon" 2>/dev/null || break
        if curl -sk -o /dev/null "https://127.0.0.1:$port/api2/openapi.json"; then break 2; fi
        sleep 0.05
    done
    kill -0 "$daemon" 2>/dev/null && fail "the daemon does not answer on port $port"
    [ "$attempt" = 5 ] && fail "the daemon does not start"
done
base="https://127.0.0.1:$port/api2/json"
# Not on curl's command line, where every user of the machine could read it.
printf 'header = "Authorization: PVEAPIToken=%s"\n' "$(cat "$root/root-token")" >"$root/curlrc"
chmod 600 "$root/curlrc"
certificate=$root/etc/pve/nodes/$node/pve-ssl.pem
api() { # METHOD PATH [curl options]: prints the answer's data, fails on any status but 200
    local method=$1 path=$2 answer status
    shift 2
    answer=$(curl -s --cacert "$certificate" -K "$root/curlrc" -X "$method" -w '\n%{http_code}' "$@" "$base$path")
    status=${answer##*$'\n'}
    answer=${answer%$'\n'*}
    [ "$status" = 200 ] || fail "$method $path answered $status: $answer"
    jq -c .data <<<"$answer"
}
task() { # the same for what answers with a task: waits for its end, fails unless it is OK
    local upid status
    upid=$(api "$@" | jq -r .)
    while status=$(api GET "/nodes/$node/tasks/$upid/status"); do
        [ "$(jq -r .status <<<"$status")" = running ] || break
        sleep 0.02
    done
    last_task=$upid
    case $(jq -r .exitstatus <<<"$status") in
        OK | WARNINGS:*) ;;
        *) fail "$upid: $(jq -r .exitstatus <<<"$status")" ;;
    esac
}
note "https://127.0.0.1:$port, PVE $(api GET /version | jq -r .version)'s API"
note "runtime: $(api GET "/nodes/$node/oci/runtimes" | jq -c . | cut -c1-150)"

step "create: POST /nodes/$node/lxc"
vmid=$(api GET /cluster/nextid | jq -r .)
task POST "/nodes/$node/lxc" -d vmid="$vmid" -d ostemplate=local:vztmpl/busybox.tar.gz -d rootfs=local:0 \
    -d hostname=hello -d memory=64 -d swap=0 -d cores=1 -d unprivileged=1 --data-urlencode \
    'entrypoint=/bin/sh -c "echo hello from $(hostname), I am pid $$ and uid $(id -u); cat /proc/self/uid_map; trap \"exit 42\" TERM PWR; while :; do sleep 0.1; done"'
note "$last_task"
api GET "/nodes/$node/lxc/$vmid/config" | jq -r 'del(.digest) | to_entries[] | "   \(.key): \(.value)"'

step "start: POST /nodes/$node/lxc/$vmid/status/start"
task POST "/nodes/$node/lxc/$vmid/status/start"
api GET "/nodes/$node/tasks/$last_task/log?limit=0" | jq -r '.[] | "   \(.n): \(.t)"'

step "it is real: pid, cgroup and namespaces (beside this shell's)"
container=$(api GET "/nodes/$node/oci/containers/$vmid")
pid=$(jq -r .pid <<<"$container")
jq -r '"   runtime \(.runtime), pid \(.pid), cgroup \(.cgroup)"' <<<"$container"
note "on the host: $(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-60)..."
for kind in pid mnt net uts ipc user cgroup; do
    theirs=$(readlink "/proc/$pid/ns/$kind")
    ours=$(readlink "/proc/self/ns/$kind")
    [ "$theirs" != "$ours" ] || fail "the container shares this machine's $kind namespace"
    printf '   %-7s %s (here %s)\n' "$kind" "${theirs#*:}" "${ours#*:}"
done

step "status/current"
api GET "/nodes/$node/lxc/$vmid/status/current" | jq '{status, vmid, name, pid, uptime, mem, maxmem, cpus}' | sed 's/^/   /'

step "what it wrote"
for _ in $(seq 100); do
    output=$(api GET "/nodes/$node/oci/containers/$vmid/logs" | jq -r '.[].t')
    [[ $output == *100000* ]] && break
    sleep 0.05
done
[[ $output == *"hello from hello, I am pid 1 and uid 0"* ]] || fail "its output is: $output"
sed 's/^/   /' <<<"$output"

step "shutdown, and the exit code it chose"
task POST "/nodes/$node/lxc/$vmid/status/shutdown" -d timeout=5
code=$(api GET "/nodes/$node/oci/containers/$vmid" | jq -r .exit.exit_code)
[ "$code" = 42 ] || fail "the exit code is $code, not 42"
note "exit code $code"

step "start again and stop: POST status/stop"
task POST "/nodes/$node/lxc/$vmid/status/start"
task POST "/nodes/$node/lxc/$vmid/status/stop"
note "$(api GET "/nodes/$node/lxc/$vmid/status/current" | jq -r .status)"

step "destroy: DELETE /nodes/$node/lxc/$vmid"
task DELETE "/nodes/$node/lxc/$vmid"
[ "$(api GET "/nodes/$node/lxc")" = '[]' ] || fail "it is still listed"
[ -z "$(ls -A "$root/var/lib/vz/images" 2>/dev/null)" ] || fail "its volume is still there"
api GET "/nodes/$node/tasks" | jq -r 'reverse[] | "   \(.type)\t\(.status)"'

printf '\ndemo: passed in %d s\n' $((SECONDS - started))
