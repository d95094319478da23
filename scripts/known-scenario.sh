#!/usr/bin/env bash
# known-scenario.sh NAME: is there such a scenario? Asked before set-up, so that a typing error costs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -f "scenarios/$1/scenario.yaml" ] && exit 0

{
    echo "expected the name of a scenario, got '$1'; the scenarios are:"
    for file in scenarios/*/scenario.yaml; do
        name=${file%/scenario.yaml}
        echo "  make scenario-${name#scenarios/}"
    done
} >&2
exit 2
