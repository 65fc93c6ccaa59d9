#!/usr/bin/env bash
# The whole road from recordings to error rates and a report, stage by stage.
#
#   bash recipes/run.sh                                     all stages on the embedded corpus
#   bash recipes/run.sh --corpus hyke --corpus-dir DIR      real speech
#   bash recipes/run.sh --corpus folder --corpus-dir DIR    your own, a sub-folder per speaker
#   bash recipes/run.sh --stage 3                           again from total variability on
#   bash recipes/run.sh --dry-run                           what would be run, and why
#   bash recipes/run.sh --backend dask --scheduler ADDRESS  shards on a cluster
#   bash recipes/run.sh --help                              all options
#
# A stage is one process for all systems, folds and development parts, which are done side by side;
# what is finished is left alone, and the same command goes on with a run that was stopped. Options
# are declared in recipes/engine/settings.py, systems and stages in recipes/systems.py; results stand
# beside each corpus in recipes/conf/CORPUS.conf, and in README.md.

RECIPE_HERE=$PWD                    # relative paths begin where the command was given
RECIPE_STARTED=$(date +%s)          # for the ETA of the whole
export RECIPE_HERE RECIPE_STARTED
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

# Variables that the options decide: which stages have something to do, extras of the package that
# they need, whether all is only told. A wrong option ends here, before anything is installed.
stages= needs= dry_run=false portable=false
check() {  # check PYTHON OPTION...: set the variables; wrong options, or --help, end the script
  local python=$1 status=0
  shift
  told=$(PYTHONDONTWRITEBYTECODE=1 "$python" -m recipes.steps check "$@" 2>&1) || status=$?
  case $status in
    0) eval "$(grep -E '^(stages|needs|dry_run|portable)=' <<<"$told")" ;;
    2) printf '%s\n' "$told" >&2; exit 2 ;;
    3) printf '%s\n' "$told"; exit 0 ;;
    *) return 1 ;;
  esac
}
install() {  # or, of a dry run, say what would be installed, and end
  local status=0
  NEEDS=${NEEDS:+$NEEDS${needs:+,}}$needs NO_INSTALL=$dry_run
  . recipes/path.sh || status=$?
  [ $status -ne 3 ] || { echo "run.sh: stages can be planned when they are there${stages:+: $stages}"; exit 0; }
  [ $status -eq 0 ] || exit 1
}
if check "${PYTHON:-python3}" "$@"; then
  install
else  # it needs a package itself
  case " $* " in
    *" --help "* | *" -h "*)
      sed -n '2,/^$/s/^# \{0,1\}//p' recipes/run.sh
      echo "Where the packages are installed, --help lists all options; without --help they are installed."
      exit 0 ;;
    *" --dry-run false "*) ;;
    *" --dry-run "* | *" --dry-run=true "*) dry_run=true ;;
  esac
  install
  check "$PYTHON" "$@" || { printf '%s\n' "$told" >&2; exit 1; }
  install
fi
set -euo pipefail
[ "$portable" = false ] || eval "$("$PYTHON" -m ivector portable)"

within() { case " $stages " in *" $1 "*) ;; *) return 1 ;; esac; }

# Every stage is a process of its own. On Linux all are forked from one that imports everything once.
given=("$@")
server=
if [ "$dry_run" = false ] && [ "$(uname -s)" = Linux ]; then
  exec 3>&1
  # An older bash, as of macOS, could not read this line.
  eval 'coproc SERVER { exec "$PYTHON" -m recipes.steps serve ${given[@]+"${given[@]}"} 4>&1 1>&3; }'
  server=$SERVER_PID
  trap 'kill -TERM "$server" 2>/dev/null || true' TERM
  trap : INT   # the stage has it, too, and says so
  trap '' PIPE  # of a server that was killed; told below
  exec 5>&"${SERVER[1]}"; eval "exec ${SERVER[1]}>&-"
  trap 'exec 5>&-; wait "$server" || true' EXIT
fi

run() {  # run WHAT: a stage, with the options given
  local status=
  if [ -z "$server" ]; then
    "$PYTHON" -m recipes.steps "$1" ${given[@]+"${given[@]}"} || exit $?
    return
  fi
  echo "$1" >&5 || true
  until read -r status <&"${SERVER[0]}"; do  # a signal interrupts it
    kill -0 "$server" 2>/dev/null || { wait "$server" || exit $?; exit 1; }
  done
  [ "$status" -eq 0 ] || exit "$status"
}

if [ "$dry_run" = true ]; then
  run plan
  exit 0
fi

# 0: data directories, enrolments and trials of every fold; the training speakers of each are cut
# into parts, from which calibration and fusion are learnt.
if within 0; then
  run 0
fi

# 1: MFCC and voice activity of all recordings, in Kaldi's archives. hyke (1.8 h): 3 s on two cores.
if within 1; then
  run 1
fi

# 2: universal background models, diagonal, then full covariances (of the i-vectors).
if within 2; then
  run 2
fi

# 3: Baum-Welch statistics and total variability.
if within 3; then
  run 3
fi

# 4: i-vectors of every utterance.
if within 4; then
  run 4
fi

# 5: back-ends: centring, LDA, length normalisation, PLDA.
if within 5; then
  run 5
fi

# 6: scores of all trials, with score normalisation where it is asked for; GMM-UBM's by MAP.
#    hyke: i-vectors EER 2.3 %, minDCF(0.01) 0.22; GMM-UBM 1.2 %, 0.17
#    speechocean762 (folder): i-vectors 3.2 %, 0.55; GMM-UBM 2.0 %, 0.34
if within 6; then
  run 6
fi

# 7: networks. Ten small ones of 300 steps on hyke: a minute and a half of a core each.
if within 7; then
  run 7
fi

# 8: embeddings, their back-ends and scores. hyke: EER 3.9 %; speechocean762: 6.2 %
if within 8; then
  run 8
fi

# 9: calibration of every system and their fusion, learnt from training speakers alone.
#    hyke: EER 1.2 %, Cllr 0.073; speechocean762: 1.5 %, 0.065
if within 9; then
  run 9
fi

# 10: error rates with intervals, what the llr are worth, a page with plots.
if within 10; then
  run 10
fi
