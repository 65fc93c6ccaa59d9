# Environment of the recipes; source it from any script: `. recipes/path.sh || exit 1`.
#
# Sets PYTHON to an interpreter that has the packages, PYTHONPATH to the folder of the toolkit and
# LC_ALL=C. A PYTHON that is given is taken or refused, never replaced. Where none is given and no
# Python at hand has the packages, .venv is made in the repository and they are installed there;
# with NO_INSTALL=true what would be installed is only said, and the status is 3. Where pip has
# installed the toolkit, nothing is installed or written beside it.
# NEEDS lists the extras wanted beyond the toolkit itself, with commas between: test, dnn, hdf5,
# scale, slurm, pipeline, cluster.

_path_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
_path_venv=$_path_root/.venv

_path_fail() {
  printf 'path.sh: error: %s\n' "$1" >&2
  return 1
}

# What _path_check runs. Not inside $(...), where an old bash takes its quotes for its own.
IFS= read -r -d '' _path_probe <<'PROBE' || true
import sys

if sys.version_info < (3, 10):
    print("version %d.%d" % sys.version_info[:2])
    sys.exit(0)

import configparser
import os
import re
from importlib.metadata import PackageNotFoundError, distribution, distributions

root, needs = sys.argv[1:]


def by_extra(lines):
    """Requirements of each extra; those of some systems or Pythons alone are left out."""
    table = {}
    for line in lines or ():
        requirement, _, marker = line.partition(";")
        extra = re.fullmatch(r"""\s*(?:extra\s*==\s*["']([\w-]+)["'])?\s*""", marker)
        if extra:
            table.setdefault(extra[1] or "", []).append(requirement.replace(" ", ""))
    return table


def absent(requirement):
    """Yield the distributions that a requirement lacks, with their versions."""
    name, extras, bounds = re.match(r"([\w.-]+)(?:\[(.*)\])?(.*)", requirement).groups()
    if name == "ivector-plda":
        table = ours
    else:
        try:
            found = distribution(name)
        except PackageNotFoundError:
            found = None
        least = re.search(r">=([\d.]+)", bounds)
        if not found or (least and numbers(found.version or "") < numbers(least[1])):
            yield requirement
            return
        table = by_extra(found.requires)
    for extra in extras.split(",") if extras else ():
        for inner in table.get(extra, ()):
            yield from absent(inner)


def numbers(version):
    return [int(number) for number in re.findall(r"\d+", version)[:3]]


setup = configparser.ConfigParser(interpolation=None)
if setup.read(os.path.join(root, "setup.cfg"), encoding="utf-8"):
    ours = {"": setup["options"]["install_requires"], **setup["options.extras_require"]}
    ours = {extra: text.split() for extra, text in ours.items()}
elif os.path.realpath(root) not in {os.path.realpath(entry) for entry in sys.path if entry}:
    print("stranger")
    sys.exit(0)
else:
    ours = by_extra(next(iter(distributions(name="ivector-plda", path=[root]))).requires)
wanted = [*ours[""]]
for extra in filter(None, needs.split(",")):
    if extra not in ours:
        print("extra " + extra)
        sys.exit(0)
    wanted += ours[extra]
print(" ".join(dict.fromkeys(lack for one in wanted for lack in absent(one))))
PROBE

# _path_check PYTHON: whether it is new enough and has every package needed, as setup.cfg names
# them or, where pip has installed the toolkit, what it noted. What is missing goes to
# _path_missing; nothing is imported, so that this takes a moment only.
_path_check() {
  _path_missing=$("$1" -c "$_path_probe" "$_path_root" "${NEEDS:-}" 2>/dev/null) || { _path_missing=broken; return 1; }
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

# _path_refuse PYTHON: say why one that was given, or has the toolkit, cannot be taken.
_path_refuse() {
  case "$_path_missing" in
    extra*) _path_fail "NEEDS=$NEEDS: there is no $_path_missing" ;;
    version*) _path_fail "PYTHON=$1 is Python ${_path_missing#version }; 3.10 or newer is needed" ;;
    broken) _path_fail "PYTHON=$1 does not run; set it to a Python of 3.10 or newer, or unset it" ;;
    stranger) _path_fail "PYTHON=$1 is not the Python that this toolkit was installed with; set PYTHON to that one, or install it there, too" ;;
    *) _path_fail "$1 lacks packages; install them: $1 -m pip install $(_path_quote)$_path_instead" ;;
  esac
}

# _path_quote: print what is missing, each in quotes.
_path_quote() {
  local _path_between="' '"
  printf "'%s'" "${_path_missing// /$_path_between}"
}

# _path_find: find an interpreter that has everything; else leave the first one that is new
# enough in _path_base, and in _path_missing what it lacks. Status 2: told already why none will do.
_path_find() {
  local _path_candidate _path_lacks= _path_lib=${_path_root%/*}
  _path_base=
  _path_old=
  _path_instead=
  _path_given=
  # A relative path begins where the command was given; who sources this has gone from there.
  case "${PYTHON:-}" in
    /*) ;;
    */*) [ -x "$PYTHON" ] || PYTHON=${OLDPWD:-.}/$PYTHON ;;
  esac
  if [ -n "${PYTHON:-}" ] && [ "$PYTHON" != "${RECIPE_PYTHON:-}" ]; then
    _path_given=true
    _path_python=$PYTHON
    [ ! -e "$_path_root/setup.cfg" ] || _path_instead="; or unset PYTHON, and .venv is made with them"
    _path_check "$PYTHON" && return 0
    _path_refuse "$PYTHON"
    return 2
  fi
  set -- ${PYTHON:+"$PYTHON"} python3 python
  # The interpreter whose site-packages these are.
  [ -e "$_path_root/setup.cfg" ] || set -- "${_path_lib%/*/*}/bin/python3" \
    "${_path_lib%/*}/Scripts/python.exe" "${_path_lib%/*}/python.exe" "${_path_lib##*/}" "$@"
  for _path_candidate in "$@"; do
    command -v "$_path_candidate" >/dev/null 2>&1 || continue
    if _path_check "$_path_candidate"; then
      _path_python=$(command -v "$_path_candidate")
      return 0
    fi
    case "$_path_missing" in
      extra*) _path_refuse; return 2 ;;
      version*) _path_old="$_path_candidate is ${_path_missing#version }" ;;
      broken | stranger) ;;
      *) [ -n "$_path_base" ] || { _path_base=$_path_candidate; _path_lacks=$_path_missing; } ;;
    esac
  done
  # A mark is left by an installation that was interrupted.
  _path_inside
  [ ! -e "$_path_venv/.installing" ] && [ -x "$_path_python" ] && _path_check "$_path_python" \
    && return 0
  _path_missing=$_path_lacks
  return 1
}

# _path_size: say what the packages take on disk, in MB: those of the toolkit, those of each extra.
_path_size() {
  local _path_extra _path_sum=600 _path_note= _path_needs=${NEEDS:-}
  for _path_extra in ${_path_needs//,/ }; do
    case "$_path_extra" in
      dnn | all)
        _path_sum=$((_path_sum + 900))
        [ "$_path_extra" = dnn ] || _path_sum=$((_path_sum + 300))
        [ "$(uname -s)" != Linux ] || _path_note="; several GB more with the usual torch of Linux, which is for GPUs: a torch for the CPU that is in .venv already is kept"
        ;;
      test) _path_sum=$((_path_sum + 200)) ;;
      pipeline) _path_sum=$((_path_sum + 100)) ;;
      cluster) _path_sum=$((_path_sum + 400)) ;;
      *) _path_sum=$((_path_sum + 50)) ;;
    esac
  done
  echo "about $_path_sum MB$_path_note"
}

# _path_install: make or complete .venv with the interpreter _path_base.
_path_install() {
  local _path_log=$_path_venv/install.log _path_what=. _path_state=extended
  if [ ! -e "$_path_root/setup.cfg" ]; then
    [ -n "$_path_base" ] || { _path_fail "no Python is found that the toolkit in $_path_root was installed with; set PYTHON to it"; return 1; }
    _path_refuse "$_path_base"
    return
  fi
  if [ -z "$_path_base" ]; then
    _path_fail "Python 3.10 or newer is needed (${_path_old:-no python3 found}); install it, or set PYTHON to it"
    return 1
  fi
  if [ "${NO_INSTALL:-}" = true ]; then
    echo "path.sh: would install into .venv, with $_path_base: $_path_missing ($(_path_size))" >&2
    return 3
  fi
  [ -z "${NEEDS:-}" ] || _path_what=".[$NEEDS]"
  [ -d "$_path_venv" ] || _path_state=made
  # What an interrupted installation made is made again: pip would take half a package for whole.
  [ "$(cat "$_path_venv/.installing" 2>/dev/null)" != made ] || _path_state=made
  echo "path.sh: installing the packages into .venv with $_path_base (once; a few minutes; $(_path_size))" >&2
  if [ "$_path_state" = made ]; then
    rm -rf "$_path_venv"
  fi
  if ! { mkdir -p "$_path_venv" && echo "$_path_state" >"$_path_venv/.installing"; } 2>/dev/null; then
    _path_fail "$_path_venv cannot be written; make an environment elsewhere ($_path_base -m venv DIR; DIR/bin/python -m pip install $(_path_quote)) and set PYTHON=DIR/bin/python"
    return 1
  fi
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
  [ "$_path_status" -eq 0 ] || _path_install || return
  export PYTHON=$_path_python
  # So that a recipe which another one starts knows that nobody gave it.
  [ -n "$_path_given" ] || export RECIPE_PYTHON=$PYTHON
  # Paths are separated as this interpreter's system separates them.
  local _path_separator=:
  case "$_path_python" in *.exe) _path_separator=";" ;; esac
  export PYTHONPATH=$_path_root${PYTHONPATH:+$_path_separator$PYTHONPATH}
  export LC_ALL=C
  # Compiled kernels are kept in the user's cache, not beside what pip has installed.
  [ -e "$_path_root/setup.cfg" ] || [ -z "${XDG_CACHE_HOME:-${HOME:-}}" ] \
    || export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ivector-plda}
}

_path_main || return 2>/dev/null || exit
unset -f _path_fail _path_check _path_inside _path_refuse _path_quote _path_find _path_size \
  _path_install _path_main
unset _path_root _path_venv _path_probe _path_python _path_base _path_old _path_missing _path_instead _path_given
