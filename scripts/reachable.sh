#!/usr/bin/env bash
# reachable.sh COMMAND...: runs it where an ordinary user can reach this folder.
#
# Tests that are root become an ordinary user for a while. A checkout in a folder that is root's alone (/root, a
# temporary folder of mode 700) would be closed to that user. Then the command runs in a mount namespace of its own in
# which that folder shows the checkout and nothing else, at the same path: file by file, since the checkout itself may
# be the closed one. Otherwise it is simply run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

# The first folder on the way down that others may not pass; empty if there is none.
closed() {
    local path='' part
    while read -r -d / part; do
        path+=/$part
        case $(stat -c %A "$path") in *[xt]) ;; *) echo "$path" && return ;; esac
    done <<<"${root#/}/"
}

barrier=$(closed)
[ -n "$barrier" ] && [ "$(id -u)" = 0 ] || exec "$@"

# shellcheck disable=SC2016
exec unshare --mount --propagation private bash -euc '
    barrier=$1 root=$2
    shift 2
    exec 8<"$root"
    mount -t tmpfs -o mode=755 tmpfs "$barrier"
    mkdir -p "$root"
    cd /proc/self/fd/8
    for entry in * .[!.]*; do
        if [ -d "$entry" ]; then mkdir "$root/$entry"; elif [ -f "$entry" ]; then touch "$root/$entry"; else continue; fi
        mount --no-canonicalize --bind "/proc/self/fd/8/$entry" "$root/$entry"
    done
    cd "$root"
    exec 8<&-
    exec "$@"
' reachable "$barrier" "$root" "$@"
