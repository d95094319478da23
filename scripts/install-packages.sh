#!/usr/bin/env bash
# install-packages.sh PACKAGE...            (root) installs them and nothing more
# install-packages.sh --missing PACKAGE...  prints those that are not installed
#
# A package with a question mark behind it (pptpd?) is wanted only where the system has it and gives up nothing for it.
#
# The only script of this project that changes the machine. It keeps these promises:
# - no service is started while it installs, and none that was not there before is left enabled;
# - a service that was there before is neither stopped, restarted nor reconfigured;
# - nothing is removed (a machine with another mail server keeps it: apt is told to fail instead);
# - /usr/sbin/policy-rc.d is afterwards what it was before, also after an error or an interrupt.
set -euo pipefail

policy=${TAMPERLAB_POLICY:-/usr/sbin/policy-rc.d}   # another place only for tests
saved=$policy.before-tamperlab

is_installed() { [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) = installed ]]; }
installed_packages() { dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' | sed -n 's/ installed$//p' | sort; }

can_be_had() { apt-get install --simulate --no-install-recommends --no-remove "$@" >/dev/null 2>&1; }
lists_are_there() { compgen -G "${TAMPERLAB_APT_LISTS:-/var/lib/apt/lists}/*Packages*" >/dev/null; }

# wanted_of PACKAGE...: their names, without those that need not be had and cannot.
wanted_of() {
    local package
    for package in "$@"; do
        [[ $package != *\? ]] || can_be_had "${package%\?}" || continue
        echo "${package%\?}"
    done
}

if [ "${1:-}" = --missing ]; then
    shift
    for package in "$@"; do
        if is_installed "${package%\?}"; then continue; fi
        # Without apt's lists nobody knows yet what can be had.
        [[ $package != *\? ]] || ! lists_are_there || can_be_had "${package%\?}" || continue
        echo "$package"
    done
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    echo "expected root, got $(id -un); run: sudo $0 $*" >&2
    exit 3
fi

# The mark tells our own file, left behind by a kill -9, from one that belongs to the machine.
mark='# tamperlab: only while it installs packages'
there() { [ -e "$1" ] || [ -L "$1" ]; }
forbid_services() {
    if there "$policy" && ! there "$saved" && ! grep -qsF "$mark" "$policy"; then
        mv "$policy" "$saved"
    fi
    rm -f "$policy"
    printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
    chmod 755 "$policy"
}
allow_services() {
    rm -f "$policy"
    ! there "$saved" || mv "$saved" "$policy"
}

# leave_disabled PACKAGE...: their units and start scripts do not come up at the next boot.
leave_disabled() {
    local unit script
    while read -r unit; do
        unit=${unit##*/}
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != enabled ] || systemctl --quiet disable "$unit"
    done < <(dpkg -L "$@" | grep -E '/systemd/system/[^/]+\.(service|socket|timer|path)$' | grep -v '@\.' || true)
    while read -r script; do
        update-rc.d "${script##*/}" disable >/dev/null 2>&1 || true   # a script that was never enabled
    done < <(dpkg -L "$@" | grep -E '^/etc/init\.d/[^/]+$' || true)
}

apt_install() {
    # The first words of debconf's questions are answered by defaults; Postfix alone would write a configuration.
    if [[ " $* " = *" postfix "* ]]; then
        echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    fi
    apt-get install --yes --quiet --no-install-recommends --no-remove \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
}

export DEBIAN_FRONTEND=noninteractive
before=$(installed_packages)
trap 'allow_services' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
forbid_services

required=()
for package in "$@"; do [[ $package = *\? ]] || required+=("$package"); done
updated=no
if ! lists_are_there || ! can_be_had "${required[@]}"; then
    apt-get update --quiet
    updated=yes
fi
mapfile -t wanted < <(wanted_of "$@")
if [ "${#wanted[@]}" -gt 0 ] && ! apt_install "${wanted[@]}"; then
    if [ "$updated" = yes ] || ! { apt-get update --quiet && apt_install "${wanted[@]}"; }; then
        echo "expected apt to install ${wanted[*]}, got the error above; if it cannot find one of them on Ubuntu, run:" \
            "sudo add-apt-repository universe" >&2
        exit 3
    fi
fi
mapfile -t added < <(comm -13 <(printf '%s\n' "$before") <(installed_packages))
[ "${#added[@]}" = 0 ] || leave_disabled "${added[@]}"
