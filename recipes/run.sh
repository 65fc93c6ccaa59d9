#!/usr/bin/env bash
# The whole road from recordings to error rates, stage by stage. See the results beside each corpus
# in recipes/conf/CORPUS.conf and the table in README.md.
#
#   bash recipes/run.sh                                     all stages on the embedded corpus
#   bash recipes/run.sh --corpus hyke --corpus-dir DIR      real speech
#   bash recipes/run.sh --corpus folder --corpus-dir DIR    your own, a sub-folder per speaker
#   bash recipes/run.sh --stage 3                           again from total variability on
#   bash recipes/run.sh --dry-run                           what would be run, and why
#   bash recipes/run.sh --backend dask --scheduler ADDRESS  shards on a cluster

# What to run
corpus=synthetic       # synthetic folder hyke librispeech voxceleb1 voxceleb2 tiny_voxceleb
corpus_dir=            # where its recordings are
protocol=              # folder corpus: fold*/{train.utt2spk,enroll,trials}; empty makes one
prepare_options=       # more for stage 0, see: python -m recipes.prepare CORPUS --help
system=all             # one of the systems, or all of them
systems="ivector cosine gmm-ubm"  # ivector (PLDA), cosine (of the i-vectors), gmm-ubm (MAP-adapted
                       # models), gmm-ubm-s (of the same models, with s-norm), xvector (network)
stage=                 # first stage to run, even if done already; empty continues what is missing
resume=false           # true: from --stage on, too, continue what is missing
dry_run=false          # --dry-run alone: say what would be run and why, and do nothing
stop_stage=10
nj=                    # processes (results do not depend on it); empty takes all cores
backend=loky           # what runs shards: loky (processes), threading, dask (a cluster); same results
scheduler=             # of a Dask cluster, tcp://HOST:PORT or its file; empty starts nj processes here
seed=0
memory=2048            # MiB that each process may take
disk=0                 # MiB that a stage may write; 0: what is free
feature_storage=float32   # two-byte: half the disk; compressed: a byte a number, costs accuracy
statistics_dtype=float32  # of stage 3, or float16: a third of the disk, more where speech is short
statistics_prune=0     # float16: share of an utterance's frames dropped with its rarest Gaussians
channel=               # of recordings with several: 0, 1, ... or mean; empty refuses them
strict=false           # stop at the first bad recording instead of skipping and counting it
data=                  # data folder, default data/CORPUS
exp=                   # experiment folder, default exp/CORPUS

# How
mfcc_config=recipes/conf/mfcc_16k.conf
vad_config=recipes/conf/vad.conf
delta_order=2
delta_window=3
normalisation=cmn      # cmn (sliding mean), cmvn (and variance), global_cmn, global_cmvn, warping, none
cmn_window=300
num_components=64      # Gaussians of the UBM
covariance=full        # UBM of the i-vector system: full or diagonal
num_iters_diag=20      # EM iterations of the diagonal UBM
num_iters_full=4       # and of the full one
num_gselect=20         # Gaussians a frame is given to
min_post=0.025         # posteriors below are pruned
rank=100               # dimension of the i-vectors
num_iters_tv=5
tv_init=random         # start of the EM: random (Kaldi's) or pca (fits the training data closer)
parametrisation=kaldi  # kaldi (prior offset), or classical (Dehak, Kenny)
lda_dim=0              # 0: no LDA
scoring=plda           # plda or cosine
plda_smoothing=0.0     # moves within-class covariance towards the between-class one
enrolment=book         # several enrolment utterances: book (exact) or average (Kaldi's)
score_norm=none        # none, z, t, zt, s, as: against the training speakers
relevance=16           # gmm-ubm: relevance factor
top_n=10               # gmm-ubm: Gaussians scored in each frame
dev_folds=4            # parts of the training speakers, each scored by systems trained on the others, to
                       # learn calibration and fusion from; 0: neither
dev_folds_used=        # so many of them only, where training takes long; empty takes all
dev_models=5           # models of each of their speakers, of different utterances
fusion_prior=0.5       # of a target, for which calibration and fusion weigh errors; 0.5 is Cllr
fusion_ridge=0.0       # penalty of large fusion weights
fusion_systems=        # which of the systems to fuse; empty takes all
xvector_model=xvector-small  # or another network of dnn.models
xvector_steps=300      # updates of its training
xvector_threads=1      # of the CPU for each training; another number changes the last digits
xvector_frames="100 200"     # of a training crop, least and largest
xvector_scoring=cosine # plda or cosine
xvector_norm=s         # score normalisation
device=auto            # of network training: auto takes a GPU if there is one, cpu
bootstrap=1000         # replicates of the confidence intervals

help_message="Usage: bash recipes/run.sh [--NAME VALUE]...
The options are the variables on top of recipes/run.sh, with dashes for underscores;
recipes/conf/CORPUS.conf and recipes/conf/CORPUS.SYSTEM.conf set them for a corpus, --config FILE for you.
Stages: 0 corpus, 1 features, 2 UBM, 3 total variability, 4 i-vectors, 5 back-end, 6 scores,
7 x-vector training, 8 x-vectors and their scores, 9 calibration and fusion, 10 report.
Stages 2 to 8 are run for every system in turn."

here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
previous= given=()
for word in "$@"; do  # the corpus and system decide which configuration is read first
  case "$word" in --corpus=*) corpus=${word#*=} ;; --system=*) system=${word#*=} ;; esac
  case "$previous" in
    --corpus) corpus=$word ;;
    --system) system=$word ;;
    --config) case "$word" in /*) ;; *) word=$here/$word ;; esac ;;
  esac
  case "$word" in --config=[!/]*) word=--config=$here/${word#*=} ;; --dry-run) word+==true ;; esac
  given+=("$word")
  previous=$word
done
set -- ${given[@]+"${given[@]}"}
trunk=$system  # whose models it shares
case $system in cosine) trunk=ivector ;; gmm-ubm-s) trunk=gmm-ubm ;; esac
for file in "recipes/conf/$corpus.$system.conf" "recipes/conf/$corpus.$trunk.conf" \
  "recipes/conf/$corpus.conf"; do
  [ -f "$file" ] && set -- --config "$file" "$@"
done
chosen="$corpus $system"
. recipes/parse_options.sh
fail() { echo "run.sh: error: $1" >&2; exit 2; }
[ "$corpus $system" = "$chosen" ] \
  || fail "--config: corpus and system choose the configurations; give them as --corpus and --system"
[ $# -eq 0 ] || fail "unexpected argument '$1'; options are --NAME VALUE"
for name in stage stop_stage nj seed memory disk delta_order delta_window cmn_window num_components \
  num_iters_diag num_iters_full num_gselect rank num_iters_tv lda_dim top_n dev_folds \
  dev_folds_used dev_models xvector_steps xvector_threads bootstrap; do
  case "${!name}" in
    "") [ $name = stage ] || [ $name = nj ] || [ $name = dev_folds_used ] || fail "--${name//_/-} is empty; it takes a number" ;;
    *[!0-9]*) fail "--${name//_/-} takes a whole number, got '${!name}'" ;;
  esac
done
for name in stage stop_stage; do
  [ "${!name:-0}" -le 10 ] || fail "--${name//_/-} is 0 to 10, got ${!name}"
done
choice() {  # choice NAME WORD...: refuse another value now, not when its stage is reached
  local name=$1
  shift
  case " $* " in *" ${!name} "*) ;; *) fail "--${name//_/-} is one of: $*; got '${!name}'" ;; esac
}
choice system all ivector cosine gmm-ubm gmm-ubm-s xvector
for one in $systems; do
  case $one in ivector | cosine | gmm-ubm | gmm-ubm-s | xvector) ;; *) fail "--systems: no system '$one'" ;; esac
done
choice normalisation cmn cmvn global_cmn global_cmvn warping none
choice covariance full diagonal
choice feature_storage float32 two-byte compressed
choice statistics_dtype float32 float16
choice tv_init random pca
choice parametrisation kaldi classical
choice backend loky threading dask
choice scoring plda cosine
choice enrolment book average
choice score_norm none z t zt s as
choice xvector_scoring plda cosine
choice xvector_norm none z t zt s as
range() {  # range NAME LEAST MOST
  awk -v x="${!1}" -v a="$2" -v b="$3" 'BEGIN { exit !(x ~ /^[0-9.]+(e-?[0-9]+)?$/ && x >= a && x <= b) }' \
    || fail "--${1//_/-} takes numbers from $2 to $3, got '${!1}'"
}
range plda_smoothing 0 1
range min_post 0 0.5
range relevance 0 1e9
range fusion_prior 1e-9 0.999999999
range fusion_ridge 0 1e9
[ "$dev_folds" != 1 ] || fail "--dev-folds is 0 for neither calibration nor fusion, or at least 2"
if [ "$system" = all ]; then
  for one in $fusion_systems; do
    case " $systems " in *" $one "*) continue ;; esac
    case " ${given[*]+${given[*]}}" in
      *" --fusion-systems"*) fail "--fusion-systems: '$one' is not one of --systems ($systems)" ;;
    esac
    fusion_systems=  # the corpus's own choice was made among systems that are not all run
  done
fi
case " $system $systems " in *" xvector "*) NEEDS=${NEEDS:+$NEEDS,}dnn ;; esac
[ "$backend" != dask ] || NEEDS=${NEEDS:+$NEEDS,}scale
. recipes/path.sh || exit 1
set -euo pipefail

for name in corpus_dir protocol data exp; do  # paths are relative to where the command was given
  case "${!name}" in "" | /*) ;; *) printf -v "$name" '%s' "$here/${!name}" ;; esac
done
data=${data:-data/$corpus}
exp=${exp:-exp/$corpus}
nj=${nj:-$("$PYTHON" -c 'import joblib; print(joblib.cpu_count())')}
first=${stage:-0}
force=()
[ -z "$stage" ] || [ "$resume" = true ] || force=(--force)
[ "$system" = all ] || systems=$system
parallel=(--nj "$nj" --backend "$backend")
[ -z "$scheduler" ] || parallel+=(--scheduler "$scheduler")
dry=()
[ "$dry_run" = false ] || dry=(--dry-run)
export RECIPE_PLANNED=${RECIPE_PLANNED:-}  # folders that would be made, a line each
common=(--data "$data" --exp "$exp" "${parallel[@]}" --seed "$seed"
  --memory "$memory" --disk "$disk" ${force[@]+"${force[@]}"} ${dry[@]+"${dry[@]}"})

within() { [ "$first" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

tell() {  # tell COMMAND...: run it; in a dry run it says what it would do, for those behind it, too
  if [ "$dry_run" = false ]; then
    "$@"
    return
  fi
  local said
  said=$("$@")
  printf '%s\n' "$said"
  RECIPE_PLANNED+=$'\n'$(sed -n 's/^run   \(.*\)  #.*/\1/p' <<<"$said")
}

step() {  # step NAME OPTION...: run one stage script
  local name=$1
  shift
  tell "$PYTHON" -m recipes.steps "$name" "${common[@]}" "$@"
}

again() {  # again OPTION...: this script with the same options and more
  tell env PYTHON="$PYTHON" bash recipes/run.sh ${given[@]+"${given[@]}"} --nj "$nj" "$@"
}

if within 0; then
  options=()
  [ -z "$corpus_dir" ] || options+=(--corpus-dir "$corpus_dir")
  [ -z "$protocol" ] || options+=(--protocol "$protocol")
  [ "$strict" = false ] || options+=(--strict)
  read -ra words <<<"$prepare_options"
  tell "$PYTHON" -m recipes.prepare "$corpus" --out "$data" "${parallel[@]}" \
    ${dry[@]+"${dry[@]}"} ${options[@]+"${options[@]}"} ${words[@]+"${words[@]}"}
fi

if within 1; then
  options=()
  [ "$strict" = false ] || options+=(--strict)
  [ -z "$channel" ] || options+=(--channel "$channel")
  step features --mfcc-config "$mfcc_config" --vad-config "$vad_config" \
    --feature-storage "$feature_storage" \
    ${options[@]+"${options[@]}"}
fi

if [ "$system" = all ]; then  # each with its own configuration, recipes/conf/CORPUS.SYSTEM.conf
  for one in $systems; do
    start=$((first > 2 ? first : 2))
    case $one in  # what others made already is not made again
      cosine) start=$((start > 5 ? start : 5)) ;;
      gmm-ubm-s) start=$((start > 6 ? start : 6)) ;;
      xvector) start=$((start > 7 ? start : 7)) ;;
    esac
    stop=$((stop_stage < 8 ? stop_stage : 8))
    [ $start -gt $stop ] || again --system $one --data "$data" --exp "$exp" --stage $start \
      --stop-stage $stop --resume $([ ${#force[@]} = 0 ] && echo true || echo false)
  done
elif [ "$system" = xvector ]; then
  if within 7; then
    step xvector --system $system --model "$xvector_model" --num-steps "$xvector_steps" \
      --frames $xvector_frames --threads "$xvector_threads" --device "$device"
  fi

  if within 8; then
    step xvectors --system $system
    step backend --system $system --scoring "$xvector_scoring"
    step scores --system $system --score-norm "$xvector_norm"
  fi
else
  if within 2; then
    [ $trunk = ivector ] || covariance=diagonal
    step ubm --system $trunk --num-components "$num_components" --covariance "$covariance" \
      --num-iters-diag "$num_iters_diag" --num-iters-full "$num_iters_full" \
      --num-gselect "$num_gselect" \
      --delta-order "$delta_order" --delta-window "$delta_window" \
      --normalisation "$normalisation" --cmn-window "$cmn_window"
  fi

  if [ $trunk = gmm-ubm ]; then
    if within 6; then
      [ "$system" = gmm-ubm ] || score_norm=s
      step gmm_ubm --system $system --trunk $trunk --relevance "$relevance" --top-n "$top_n" \
        --score-norm "$score_norm"
    fi
  else
    if within 3; then
      step total_variability --system $trunk --rank "$rank" --num-iters "$num_iters_tv" \
        --parametrisation "$parametrisation" --init "$tv_init" \
        --num-gselect "$num_gselect" --min-post "$min_post" \
        --statistics-dtype "$statistics_dtype" --statistics-prune "$statistics_prune"
    fi

    if within 4; then
      step ivectors --system $trunk
    fi

    if within 5; then
      [ "$system" != cosine ] || scoring=cosine
      step backend --system $system --trunk $trunk --scoring "$scoring" --lda-dim "$lda_dim" \
        --plda-smoothing "$plda_smoothing"
    fi

    if within 6; then
      step scores --system $system --trunk $trunk --enrolment "$enrolment" \
        --score-norm "$score_norm"
    fi
  fi
fi

if within 9 && [ "$dev_folds" -gt 0 ]; then
  # Systems of the same options on parts of the training speakers; what is there is left alone.
  options=()
  [ -z "$dev_folds_used" ] || options+=(--first "$dev_folds_used")
  tell "$PYTHON" -m recipes.inner_folds --data "$data" --out "$exp/development/data" \
    --num-folds "$dev_folds" --models "$dev_models" --seed "$seed" ${dry[@]+"${dry[@]}"} \
    ${options[@]+"${options[@]}"}
  [ "$dry_run" = true ] || ln -sfn ../features "$exp/development/features"
  again --data "$exp/development/data" --exp "$exp/development" --stage 2 --resume true --stop-stage 8
  options=()
  [ "$system" != all ] || [ -z "$fusion_systems" ] || options+=(--fuse $fusion_systems)
  step fusion --systems $systems --development "$exp/development" --fusion-prior "$fusion_prior" \
    --fusion-ridge "$fusion_ridge" ${options[@]+"${options[@]}"}
fi

if within 10; then
  step report --bootstrap "$bootstrap" --command "bash recipes/run.sh${given[*]+ ${given[*]}}"
fi
