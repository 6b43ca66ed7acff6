#!/usr/bin/env bash
# Runs a command in network, mount and process namespaces of its own: a loopback and the addresses of two
# hosts (10.213.0.1, 10.213.1.1), DNS from the stack's Consul. When the command ends, every process in it ends,
# and so do its mounts and its network. Needs root.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "stack: needs root for namespaces" >&2; exit 1; }
if [ "${1:-}" != --inside ]; then
    exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private -- "$0" --inside "$@"
fi
shift
ip link set lo up
for host in 0 1; do
    ip link add "host$host" type veth peer name "host$host-peer"
    ip addr add "10.213.$host.1/24" dev "host$host"
    ip link set "host$host" up
    ip link set "host$host-peer" up
done
conf=$(mktemp)
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:2\n' >"$conf"
mount --bind "$conf" /etc/resolv.conf
rm -f "$conf"
# A /tmp of its own: SeaweedFS has sockets with fixed names there. What we need of the old one is kept.
fresh=$(mktemp -d /var/tmp/cs-tmp.XXXXXX)
mount -t tmpfs stack "$fresh"
for kept in "$(cd "$(dirname "$0")/../.." && pwd)" "$(dirname "${CERTAGENT_BIN:-/}")"; do
    case $kept/ in /tmp/*)
        mkdir -p "$fresh${kept#/tmp}"
        mount --bind "$kept" "$fresh${kept#/tmp}"
        ;;
    esac
done
mount --move "$fresh" /tmp
rmdir "$fresh"
# Not exec: this shell is the first process here and reaps what is left to it. Nomad waits for the
# executors of an earlier agent to be gone, and one that nobody reaps never is.
status=0
"$@" || status=$?
exit "$status"
