#!/usr/bin/env bash
# setup.sh GROUP...: makes this machine ready for the groups core, servers, test, dev, bench.
#
# Second call: compares one hash, starts neither Python nor pip nor sudo. Two calls at once: the second waits.
# Root rights are asked for only to install missing system packages (install-packages.sh), never for anything else.
# Writes into .venv and nowhere else. Exit 3: the machine is not ready, with the command that makes it so.
set -euo pipefail
umask 022   # an ordinary user must be able to use what root set up
cd "$(dirname "$0")/.."
root=$PWD

# What the set-up depends on. The folder itself is one such thing: scripts in a virtual environment name their place.
fingerprint=$(
    { cat pyproject.toml scripts/*.sh; echo "$root"; readlink -f /usr/bin/python3 || true; } | sha256sum
)

is_done() { [ "$(cat ".venv/.set-up-$1" 2>/dev/null)" = "$fingerprint" ]; }

todo() {
    local group
    for group in "$@"; do is_done "$group" || echo "$group"; done
}

mapfile -t missing_groups < <(todo "$@")
[ "${#missing_groups[@]}" -gt 0 ] || exit 0

say() { printf 'set-up: %s\n' "$*" >&2; }
not_ready() {
    printf '%s\n' "$@" >&2
    exit 3
}

exec 9<"$root/scripts/setup.sh"
if ! flock --nonblock 9; then
    say "another set-up is at work in this folder; waiting for it"
    flock 9
fi
mapfile -t missing_groups < <(todo "$@")
[ "${#missing_groups[@]}" -gt 0 ] || exit 0

if [ ! -w . ] || { [ -d .venv ] && [ ! -w .venv ]; }; then
    not_ready "expected a set-up that is up to date, or a folder that $(id -un) may write to, got neither in $root;" \
        "  run: sudo make setup"
fi

# shellcheck source=scripts/packages.sh
. scripts/packages.sh

# The system's own packages, Mininet's among them, belong to its own Python.
check_python() {
    /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || not_ready \
        "expected Python 3.11 or newer as the system's own, got $(/usr/bin/python3 --version) in /usr/bin/python3;" \
        "  use Debian 12 or newer, or Ubuntu 24.04 or newer (the Vagrantfile has one)"
}

install_system_packages() {
    local group groups=(core) wanted=(python3 python3-venv python3-dev) missing=()
    for group in "$@"; do [ "$group" = core ] || groups+=("$group"); done
    for group in "${groups[@]}"; do
        local -n packages="packages_$group"
        wanted+=("${packages[@]}")
    done
    command -v dpkg-query >/dev/null || not_ready \
        "expected Debian 12 or newer, or Ubuntu 24.04 or newer, got a system without dpkg;" \
        "  use one of those (the Vagrantfile has one), with: ${wanted[*]}"
    mapfile -t missing < <(scripts/install-packages.sh --missing "${wanted[@]}")
    [ "${#missing[@]}" -gt 0 ] || return 0

    say "these system packages are missing: ${missing[*]}"
    local installer=(scripts/install-packages.sh "${missing[@]}")
    if [ "$(id -u)" = 0 ]; then
        "${installer[@]}"
    elif ! command -v sudo >/dev/null; then
        not_ready "expected sudo or root to install them, got neither; run as root:" "  cd $root && ${installer[*]}"
    elif [ -t 0 ] || sudo -n true 2>/dev/null; then
        say "installing them needs root once: sudo may ask for your password"
        sudo "${installer[@]}" || not_ready "expected the packages to install, got an error (above); then run make again"
    else
        not_ready "expected sudo without a password or a terminal to ask on, got neither; run:" \
            "  sudo $root/scripts/install-packages.sh ${missing[*]}"
    fi
}

make_environment() {
    local home mininet
    home="$root $(readlink -f /usr/bin/python3)"
    # A copied or moved folder, or a newer system Python: start again.
    if [ "$(cat .venv/.made-for 2>/dev/null)" != "$home" ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        say "making .venv"
        /usr/bin/python3 -m venv --clear .venv
        echo "$home" >.venv/.made-for
    fi
    # Mininet is not on PyPI in a usable form (its mnexec is missing there). Only Mininet is let in, not every
    # system package: docs/adr/0009-mininet-alone-from-the-system.md
    mininet=$(cd / && /usr/bin/python3 -c 'import mininet; print(mininet.__path__[0])')
    ln -sfn "$mininet" "$(echo .venv/lib/python3.*/site-packages)/mininet"
}

# install_python_packages EXTRAS: empty, or a list such as test,dev
install_python_packages() {
    local log=.venv/set-up.log
    say "installing Python packages into .venv (less than a minute; details in $log)"
    if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --editable ".${1:+[$1]}" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        not_ready "expected pip to install the packages of pyproject.toml, got the error above;" \
            "  check that PyPI can be reached from here, then run make again"
    fi
}

say "setting up: ${missing_groups[*]}"
[ ! -x /usr/bin/python3 ] || check_python   # before anything is installed
install_system_packages "${missing_groups[@]}"
make_environment
extras=()
for group in "${missing_groups[@]}"; do
    case $group in servers | test | dev) extras+=("$group") ;; esac
done
is_done core && [ "${#extras[@]}" = 0 ] || install_python_packages "$(IFS=,; echo "${extras[*]}")"
for group in "${missing_groups[@]}"; do echo "$fingerprint" >".venv/.set-up-$group"; done
# Root in somebody's folder: the environment belongs to whom the folder belongs to.
[ "$(id -u)" != 0 ] || chown -R --no-dereference --reference=. .venv
say "done"
