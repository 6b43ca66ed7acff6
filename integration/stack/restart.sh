#!/bin/sh
# What `systemctl restart` does, where a supervisor without such a command starts a program again whenever it ends.
# usage: restart.sh PID_FILE    Ends the process of that file; returns when the file holds another pid, or fails after 15 s.
set -eu
old=$(cat "$1")
kill -TERM "$old"
tries=150
while [ "$(cat "$1")" = "$old" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "restart: $1 still holds $old after 15 s" >&2; exit 1; }
    sleep 0.1
done
