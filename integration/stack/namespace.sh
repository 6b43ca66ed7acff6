#!/usr/bin/env bash
# Runs a command in network, mount and process namespaces of its own: a loopback and one address
# (10.213.0.1) of a node, DNS from the stack's Consul. When the command ends, every process in it ends,
# and so do its mounts and its network. Needs root.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "stack: needs root for namespaces" >&2; exit 1; }
if [ "${1:-}" != --inside ]; then
    exec unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private -- "$0" --inside "$@"
fi
shift
ip link set lo up
ip link add node0 type veth peer name node0-peer
ip addr add 10.213.0.1/24 dev node0
ip link set node0 up
ip link set node0-peer up
conf=$(mktemp)
printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:2\n' >"$conf"
mount --bind "$conf" /etc/resolv.conf
rm -f "$conf"
# Sockets with a fixed place in /tmp (SeaweedFS) end with the namespace, unless we live there.
case $(cd "$(dirname "$0")" && pwd)/ in /tmp/*) ;; *) mount -t tmpfs stack /tmp ;; esac
# Not exec: this shell is the first process here and reaps what is left to it. Nomad waits for the
# executors of an earlier agent to be gone, and one that nobody reaps never is.
status=0
"$@" || status=$?
exit "$status"
