#!/usr/bin/env bash
# All checks: style, types, tests, coverage. `bash tests/run.sh [pytest arguments]`; with arguments
# (a selection of tests, say) coverage is not asked for. NEEDS=cluster adds the checks that need more
# packages. The last line is pytest's.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
NEEDS=test,dnn${NEEDS:+,$NEEDS}
. recipes/path.sh || exit 1
# One thread each: sums have the same bytes everywhere, and the machine may be shared.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

failed=
check() {
  "$@" || failed="$failed ${*:3}"
}
check "$PYTHON" -m ruff check --quiet .
check "$PYTHON" -m ruff format --check --quiet .
check "$PYTHON" -m mypy --no-error-summary
if [ -n "$failed" ]; then
  echo "tests/run.sh: failed:$failed" >&2
fi

coverage=()
[ $# -gt 0 ] || coverage=(--cov --cov-report=term:skip-covered --cov-fail-under=90)
"$PYTHON" -m pytest ${coverage[@]+"${coverage[@]}"} "$@" && [ -z "$failed" ]
