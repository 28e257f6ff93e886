#!/usr/bin/env bash
# Green means this passes: format, lint, types, tests, doctests. Stops at the first that does not.
#   tools/check.sh              every step
#   tools/check.sh lint types   these steps, in this order
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# CI hands itself the interpreter of its own environment; people have theirs activated.
python=${PYTHON:-python}

run_step() {
    case "$1" in
        format) "$python" -m ruff format --check . ;;
        lint) "$python" -m ruff check . ;;
        types) "$python" -m mypy ;;
        tests) "$python" -m pytest -n auto tests ;;
        doctests) "$python" -m pytest asr ;;
        *)
            echo "unknown step '$1'; known: format lint types tests doctests" >&2
            exit 2
            ;;
    esac
}

[ $# -gt 0 ] || set -- format lint types tests doctests
for step in "$@"; do
    echo "== $step"
    started=$SECONDS
    run_step "$step" || {
        status=$?
        echo "== $step failed (exit $status)" >&2
        exit "$status"
    }
    echo "== $step passed ($((SECONDS - started)) s)"
done
