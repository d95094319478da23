#!/usr/bin/env bash
# known-scenario.sh NAME: is there such a scenario? Asked before set-up, so that a typing error costs nothing.
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."
[ -f "scenarios/$1/scenario.yaml" ] && exit 0

# The nearest name is the one that shares the longest beginning; of several, the shortest.
names=() nearest='' longest=2
for file in scenarios/*/scenario.yaml; do
    name=${file#scenarios/}
    name=${name%/scenario.yaml}
    names+=("$name")
    for ((length = ${#1}; length >= longest; length--)); do
        [ "${1:0:length}" = "${name:0:length}" ] || continue
        if ((length > longest || ${#name} < ${#nearest})); then nearest=$name longest=$length; fi
        break
    done
done
{
    if [ -n "$nearest" ]; then
        echo "expected the name of a scenario, got '$1'; did you mean $nearest?"
    else
        echo "expected the name of a scenario, got '$1'; the scenarios are:"
        printf '%s\n' "${names[@]}" | fmt -w 90 | sed 's/^/  /'
    fi
} >&2
exit 2
