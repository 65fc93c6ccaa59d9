# Frame of the network systems' recipes; source it after the variables and $help_message, from the
# folder of the command: `. "$(dirname "${BASH_SOURCE[0]}")/network.sh" || exit 1`.
#
# Goes to the repository, reads the options (recipes/parse_options.sh), among them --miniature, bare
# or with true or false, which reads recipes/conf/NAME.miniature.conf first; finds Python
# (recipes/path.sh). Gives:
#
#   within N                  whether stage N is to be run
#   absolute NAME...          make the paths in these variables absolute, as seen from the command
#   trained COMMAND...        run a training; SIGTERM to the script saves it and exits with 75
#   fail TEXT                 end with status 2

_nw_here=$PWD
_nw_name=$(basename "$0" .sh)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

fail() {
  echo "$_nw_name.sh: error: $1" >&2
  exit 2
}

_nw_given=() _nw_small=$miniature _nw_previous=
while [ $# -gt 0 ]; do
  _nw_word=$1
  shift
  case "$_nw_previous" in
    --config) case "$_nw_word" in /*) ;; *) _nw_word=$_nw_here/$_nw_word ;; esac ;;
  esac
  case "$_nw_word" in
    --config=[!/]*) _nw_word=--config=$_nw_here/${_nw_word#*=} ;;
    --miniature=*) _nw_small=${_nw_word#*=} ;;
  esac
  _nw_given+=("$_nw_word")
  if [ "$_nw_word" = --miniature ]; then
    case "${1-}" in
      true | false) _nw_small=$1 ;;
      *)
        _nw_small=true
        _nw_given+=(true)
        ;;
    esac
  fi
  _nw_previous=$_nw_word
done
set -- ${_nw_given[@]+"${_nw_given[@]}"}
[ "$_nw_small" != true ] || set -- --config "recipes/conf/$_nw_name.miniature.conf" "$@"
. recipes/parse_options.sh
[ $# -eq 0 ] || fail "unexpected argument '$1'; options are --NAME VALUE"
for _nw_word in stage stop_stage; do
  case "${!_nw_word}" in
    "" | *[!0-9]*) fail "--${_nw_word//_/-} takes a whole number, got '${!_nw_word}'" ;;
  esac
done
NEEDS=dnn
. recipes/path.sh || exit 1
set -euo pipefail

within() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

absolute() {
  local name
  for name in "$@"; do
    case "${!name}" in "" | /*) ;; *) printf -v "$name" '%s' "$_nw_here/${!name}" ;; esac
  done
}

trained() {
  # Bash would keep a signal until its child has ended: the child runs beside it instead.
  local status=0 signalled=true child
  "$@" &
  child=$!
  trap 'signalled=true; kill -TERM "$child" 2>/dev/null || true' TERM INT
  while [ $signalled = true ]; do
    signalled=false status=0
    wait "$child" || status=$?
  done
  trap - TERM INT
  [ $status -ne 75 ] || echo "$_nw_name.sh: stopped and saved; the same command resumes" >&2
  [ $status -eq 0 ] || exit $status
}

unset _nw_given _nw_small _nw_previous _nw_word
