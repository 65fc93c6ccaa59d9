#!/usr/bin/env bash
# All checks: style, types, tests, coverage. The last line is pytest's.
#
#   bash tests/run.sh                    everything
#   bash tests/run.sh -m "not slow"      a quick look: most of them, in a third of the time
#   bash tests/run.sh tests/fusion -x    any arguments of pytest; with some, coverage is not asked for
#
# Tests run in as many processes as there are cores, a file in one of them: -n 3 takes three, -n 0
# none but pytest's own, for a debugger. NEEDS=cluster adds the checks that need more packages.

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

# In the order of conftest.py, slow files first; beyond eight processes these are what takes time.
processes=(-n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder)
coverage=()
if [ $# -eq 0 ]; then
  coverage=(--cov --cov-report=term:skip-covered --cov-fail-under=90)
  # Where Python counts lines itself, that costs next to nothing.
  if "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
    export COVERAGE_CORE=sysmon
  fi
fi
"$PYTHON" -m pytest "${processes[@]}" ${coverage[@]+"${coverage[@]}"} "$@" && [ -z "$failed" ]
