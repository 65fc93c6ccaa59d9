# Environment of the recipes; source it from any script: `. recipes/path.sh || exit 1`.
#
# Sets PYTHON to an interpreter that has the packages, PYTHONPATH to the repository and LC_ALL=C.
# Where no Python at hand has them, .venv is made in the repository and they are installed there.
# NEEDS lists the extras wanted beyond the toolkit itself, with commas between: test, dnn, hdf5,
# scale, slurm, pipeline, cluster.

_path_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_path_venv=$_path_root/.venv

_path_fail() {
  printf 'path.sh: error: %s\n' "$1" >&2
  return 1
}

# _path_check PYTHON: whether it is new enough and has every package needed. What is missing goes
# to _path_missing; nothing is imported, so that this takes a moment only.
_path_check() {
  _path_missing=$("$1" - "${NEEDS:-}" 2>/dev/null <<'PROBE'
import importlib.util
import sys

if sys.version_info < (3, 10):
    print("version %d.%d" % sys.version_info[:2])
    sys.exit(0)
wanted = "numpy scipy sklearn numba soundfile joblib kaldiio threadpoolctl tqdm matplotlib"
extras = {
    "test": "pytest pytest_cov xdist hypothesis python_speech_features librosa psutil h5py dask "
    "distributed ruff mypy",
    "dnn": "torch safetensors",
    "hdf5": "h5py",
    "scale": "dask distributed",
    "slurm": "dask distributed dask_jobqueue",
    "pipeline": "kfp",
    "cluster": "dask distributed dask_jobqueue kfp dask_kubernetes kubernetes_validate",
}
for extra in filter(None, sys.argv[1].split(",")):
    if extra not in extras:
        print("extra " + extra)
        sys.exit(0)
    wanted += " " + extras[extra]
print(" ".join(name for name in wanted.split() if importlib.util.find_spec(name) is None))
PROBE
  ) || { _path_missing=broken; return 1; }
  # Windows ends lines with a carriage return.
  _path_missing=${_path_missing%$'\r'}
  [ -z "$_path_missing" ]
}

# _path_inside: put the path of .venv's interpreter into _path_python.
_path_inside() {
  _path_python=$_path_venv/bin/python
  [ -x "$_path_python" ] || [ ! -e "$_path_venv/Scripts/python.exe" ] \
    || _path_python=$_path_venv/Scripts/python.exe
}

# _path_find: find an interpreter that has everything; else leave the first one that is new
# enough in _path_base.
_path_find() {
  local _path_candidate
  _path_base=
  _path_old=
  for _path_candidate in ${PYTHON:+"$PYTHON"} python3 python; do
    command -v "$_path_candidate" >/dev/null 2>&1 || continue
    if _path_check "$_path_candidate"; then
      _path_python=$(command -v "$_path_candidate")
      return 0
    fi
    case "$_path_missing" in
      extra*) _path_fail "NEEDS=$NEEDS: there is no ${_path_missing}"; return 2 ;;
      version*) _path_old="$_path_candidate is ${_path_missing#version }" ;;
      broken) ;;
      *) _path_base=${_path_base:-$_path_candidate} ;;
    esac
  done
  # A mark is left by an installation that was interrupted.
  _path_inside
  [ ! -e "$_path_venv/.installing" ] && [ -x "$_path_python" ] && _path_check "$_path_python"
}

# _path_install: make or complete .venv with the interpreter _path_base.
_path_install() {
  local _path_log=$_path_venv/install.log _path_what=. _path_state=extended
  if [ -z "$_path_base" ]; then
    _path_fail "Python 3.10 or newer is needed (${_path_old:-no python3 found}); install it, or set PYTHON to it"
    return 1
  fi
  [ -z "${NEEDS:-}" ] || _path_what=".[$NEEDS]"
  [ -d "$_path_venv" ] || _path_state=made
  # What an interrupted installation made is made again: pip would take half a package for whole.
  [ "$(cat "$_path_venv/.installing" 2>/dev/null)" != made ] || _path_state=made
  echo "path.sh: installing the packages into .venv with $_path_base (once; a few minutes)" >&2
  if [ "$_path_state" = made ]; then
    rm -rf "$_path_venv"
  fi
  mkdir -p "$_path_venv" && echo "$_path_state" >"$_path_venv/.installing" \
    || { _path_fail "$_path_venv cannot be written"; return 1; }
  _path_inside
  if [ ! -x "$_path_python" ] && ! "$_path_base" -m venv "$_path_venv" >"$_path_log" 2>&1; then
    _path_fail "$_path_base has no venv module (Debian, Ubuntu: install python3-venv); see .venv/install.log"
    return 1
  fi
  _path_inside
  if ! (cd "$_path_root" && "$_path_python" -m pip install --disable-pip-version-check \
    -c constraints.txt -e "$_path_what") >>"$_path_log" 2>&1; then
    _path_fail "the packages could not be installed (is there a network?); run it again to go on; see .venv/install.log: $(grep -i error "$_path_log" | tail -n 1)"
    return 1
  fi
  if ! _path_check "$_path_python"; then
    _path_fail "packages are still missing after installation: $_path_missing; see .venv/install.log"
    return 1
  fi
  rm -f "$_path_venv/.installing"
  echo "path.sh: installed" >&2
}

_path_main() {
  local _path_status=0
  _path_find || _path_status=$?
  [ "$_path_status" -ne 2 ] || return 1
  [ "$_path_status" -eq 0 ] || _path_install || return 1
  export PYTHON=$_path_python
  # Paths are separated as this interpreter's system separates them.
  local _path_separator=:
  case "$_path_python" in *.exe) _path_separator=";" ;; esac
  export PYTHONPATH=$_path_root${PYTHONPATH:+$_path_separator$PYTHONPATH}
  export LC_ALL=C
}

_path_main || return 1 2>/dev/null || exit 1
unset -f _path_fail _path_check _path_inside _path_find _path_install _path_main
unset _path_root _path_venv _path_python _path_base _path_old _path_missing
