# Command-line options in Kaldi's idiom; source it after the variables it may set:
#
#   nj=4; clean=false; help_message="Usage: run.sh [--nj N]"
#   . recipes/parse_options.sh
#
# `--some-name VALUE` and `--some-name=VALUE` set the variable some_name, which must exist already;
# a variable that is true or false takes only these. `--config FILE` reads assignments of such
# variables (name=value, 'quoted' or "quoted" where needed) before the other options, which win.
# The file is read, never run. `--help` prints $help_message. A mistake ends the script with
# status 2. What follows the options (or `--`) stays in "$@".

_po_fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# _po_set NAME VALUE WHERE: assign a variable that exists; WHERE is how the user named it.
_po_set() {
  local _po_pattern='^[a-z][a-z0-9_]*$'
  [[ $1 =~ $_po_pattern ]] && [ -n "${!1+defined}" ] \
    || _po_fail "unknown option $3; --help lists the options"
  case "${!1}" in
    true | false)
      case "$2" in
        true | false) ;;
        *) _po_fail "$3 takes true or false, not '$2'" ;;
      esac
      ;;
  esac
  printf -v "$1" '%s' "$2"
}

# _po_unquote TEXT WHERE: put the value of an assignment into _po_value.
_po_unquote() {
  local _po_end='[[:space:]]*(#.*)?$'
  local _po_bare="^([^][:space:]'\"\`\$\\;&|<>(){}#*?!~[]*)$_po_end"
  local _po_single="^'([^']*)'$_po_end"
  local _po_double="^\"([^\"\`\$\\]*)\"$_po_end"
  if [[ $1 =~ $_po_single || $1 =~ $_po_double || $1 =~ $_po_bare ]]; then
    _po_value=${BASH_REMATCH[1]}
  else
    _po_fail "$2: only a plain or quoted value may follow '=' (the file is read, not run)"
  fi
}

# _po_config FILE: set variables from a file of assignments.
_po_config() {
  local _po_line _po_number=0 _po_value
  local _po_assignment='^[[:space:]]*([A-Za-z_][A-Za-z0-9_]*)=(.*)$'
  local _po_nothing='^[[:space:]]*(#.*)?$'
  [ -f "$1" ] && [ -r "$1" ] || _po_fail "--config $1: no such file, or not readable"
  while IFS= read -r _po_line || [ -n "$_po_line" ]; do
    _po_number=$((_po_number + 1))
    _po_line=${_po_line%$'\r'}
    if [[ $_po_line =~ $_po_nothing ]]; then
      continue
    elif [[ $_po_line =~ $_po_assignment ]]; then
      local _po_name=${BASH_REMATCH[1]}
      _po_unquote "${BASH_REMATCH[2]}" "$1, line $_po_number"
      _po_set "$_po_name" "$_po_value" "'$_po_name' ($1, line $_po_number)"
    else
      _po_fail "$1, line $_po_number: expected name=value (the file is read, not run)"
    fi
  done <"$1"
}

# _po_parse PASS ARGUMENT...: pass 1 reads --config and --help, pass 2 sets the variables;
# leaves the number of arguments used in _po_used.
_po_parse() {
  local _po_pass=$1 _po_total _po_option _po_argument
  shift
  _po_total=$#
  while [ $# -gt 0 ]; do
    case "$1" in
      --help | -h)
        printf '%s\n' "${help_message:-${0##*/}: no help is written}"
        exit 0
        ;;
      --)
        shift
        break
        ;;
      --*=*)
        _po_option=${1%%=*}
        _po_argument=${1#*=}
        shift
        ;;
      --*)
        _po_option=$1
        [ $# -ge 2 ] || _po_fail "$1 needs a value"
        case "$2" in
          --*) _po_fail "$1 needs a value; if it is '$2', write $1=$2" ;;
        esac
        _po_argument=$2
        shift 2
        ;;
      -?*) _po_fail "unknown option $1; options begin with two dashes" ;;
      *) break ;;
    esac
    if [ "$_po_option" = --config ]; then
      [ "$_po_pass" = 2 ] || _po_config "$_po_argument"
    elif [ "$_po_pass" = 2 ]; then
      case "$_po_option" in
        *_*) _po_fail "unknown option $_po_option; write dashes, not underscores" ;;
      esac
      _po_option=${_po_option#--}
      _po_set "${_po_option//-/_}" "$_po_argument" "--$_po_option"
    fi
  done
  _po_used=$((_po_total - $#))
}

_po_parse 1 "$@"
_po_parse 2 "$@"
shift "$_po_used"
unset -f _po_fail _po_set _po_unquote _po_config _po_parse
unset _po_used
