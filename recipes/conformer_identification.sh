#!/usr/bin/env bash
# Conformer speaker identification on stored log-mel features.
#
# Training, accuracy on held-out utterances, output.csv for the test set, and a sweep with its report.
#
#   bash recipes/conformer_identification.sh --miniature        generated features, in a minute
#   bash recipes/conformer_identification.sh --data-dir DIR     metadata.json, mapping.json,
#                                                               testdata.json and uttr-*.pt, or
#                                                               train_label.csv and test_id.csv
#   bash recipes/conformer_identification.sh --corpus-dir DIR   any folder of recordings, one
#                                                               sub-folder for each speaker
#
# The real set: 600 speakers, 62,464 (or 56,666) utterances to train on, 6,944 (or 4,000 to 6,000)
# to predict; 40 log-mel energies a frame. The result is exp/.../output.csv, header "Id,Category".
# Figures to beat, accuracy of the predictions: .660 simple, .8175 medium, .885 strong, .932 boss
# baseline; .9535 the best published re-run; .8779 on held-out utterances after 70,000 steps at 4.8
# steps/s a widely used notebook.

# Miniature (8 generated speakers, 16 tests; no results on speech), 51 s of CPU time of an AMD EPYC
# (Zen 5, AVX-512): 93.8 % [71.7, 98.9].

# speechocean762 (--corpus-dir; 128 speakers, 7 short sentences each to train on, 3 to test: 384 tests,
# guessing 0.8 %), with --precision bfloat16 --threads 1 --workers 0, from scratch on one thread of an
# AMD EPYC (Zen 5, AVX-512):
#
#   system              top-1 (%)             top-5 (%)   parameters   training (min, CPU min)
#   GMM-UBM, MAP        97.9 [95.9, 98.9]     100.0          37,120   0.3, 0.2 (of stored features)
#   i-vector + PLDA     95.3 [92.7, 97.0]      99.5         377,552   0.6, 0.3 (the same)
#   VGG-M, width 0.5    83.3 [79.3, 86.7]      97.4       5,209,616   6.4, 6.0
#   Conformer           94.3 [91.5, 96.2]      99.7         945,568   6.7, 6.6
#
# From the folder to the table, this recipe took 10 minutes; with --steps 160 --warmup 8, 5 minutes and
# 76.3 %. Its settings were chosen by 2 of the 7 training sentences, the network seeing the other 5.
# Sizes of the classical systems: recipes/conf/folder.conf, chosen for verification between speakers of
# the same set.

miniature=false        # true, or the bare flag: small generated features of exactly that format
variant=json           # of the miniature: json or csv
data_dir=
corpus_dir=            # instead: a folder of speakers, cut into a part to train on and one to test
train_per_speaker=7    # of corpus_dir: first utterances of each speaker, by sorted id, to train on
test_per_speaker=      # those that follow, to test; empty takes all
mfcc_config=recipes/conf/mfcc_16k.conf  # of the classical systems that corpus_dir is compared with
classical_options=     # more for them, see: python -m recipes.identify_classical --help
held_out=10            # utterances of each speaker, a tenth of the real set, to measure accuracy on
exp=exp/conformer_identification
stage=0
stop_stage=5

width=1                # of the model dimension, 144
num_blocks=6
num_heads=4
margin=0.2             # of the AM-softmax
frames=128             # of a training crop
batch_size=32
lr=1e-3                # AdamW
warmup=1000            # steps, then half a cosine
steps=70000
precision=auto         # bfloat16 is 1.5 times as fast on processors that compute in it
validations=10         # accuracies measured on the way, for the curves
crops=0                # posteriors averaged over so many crops of a test utterance; 0 takes it whole
network_config=        # further fields of networks and trainings, TOML or JSON: docs/networks.md
mask=false             # hide bands and stretches of the crops (SpecAugment)
sweep_steps=7000
sweep_batch_sizes="16 128"
sweep_lrs="3e-4 3e-3"
sweep_widths="0.5 2"
sweep_models="ecapa"
workers=2              # processes that read crops ahead
threads=0              # of the CPU; 0 takes all cores
device=auto            # takes a GPU if there is one
seed=0

help_message="Usage: bash recipes/conformer_identification.sh --miniature | --corpus-dir DIR | --data-dir DIR
[--NAME VALUE]...
The options are the variables on top of recipes/conformer_identification.sh, with dashes for underscores.
Stages: 0 data, 1 training, 2 accuracy, 3 output.csv, 4 sweep and report, 5 classical systems and one
table (of --corpus-dir)."

given=() flag=
for word in "$@"; do  # the bare flag becomes --miniature true
  if [ -n "$flag" ]; then
    case "$word" in true | false) ;; *) given+=(true) ;; esac
  fi
  given+=("$word")
  flag=
  [ "$word" != --miniature ] || flag=yes
done
[ -z "$flag" ] || given+=(true)
case " ${given[*]+${given[*]}} " in *" --miniature true "* | *" --miniature=true "*)
  # Small enough for two minutes on two cores; other options given still win.
  exp=exp/conformer_identification_miniature
  width=0.25 num_blocks=2 batch_size=16 lr=2e-3 warmup=10 steps=100 held_out=2
  sweep_steps=40 sweep_batch_sizes=8 sweep_lrs=5e-4 sweep_widths=0.5 sweep_models=xvector
  workers=0 threads=1 device=cpu ;;
*" --corpus-dir "* | *" --corpus-dir="*)
  # For an hour or two of short recordings; the sweep only if asked for.
  exp=exp/identification
  width=0.67 num_blocks=4 batch_size=64 warmup=25 steps=500 validations=4
  sweep_steps=200 sweep_batch_sizes= sweep_lrs= sweep_widths= sweep_models= ;;
esac
set -- ${given[@]+"${given[@]}"}
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
fail() { echo "conformer_identification.sh: error: $1" >&2; exit 2; }
[ $# -eq 0 ] || fail "unexpected argument '$1'; options are --NAME VALUE"
for name in stage stop_stage train_per_speaker held_out num_blocks num_heads frames batch_size warmup steps validations crops \
  sweep_steps workers threads seed; do
  case "${!name}" in
    "" | *[!0-9]*) fail "--${name//_/-} takes a whole number, got '${!name}'" ;;
  esac
done
[ "$stop_stage" -le 5 ] || fail "--stop-stage is 0 to 5, got $stop_stage"
case "$variant" in json | csv) ;; *) fail "--variant is json or csv, got '$variant'" ;; esac
[ "$miniature" = true ] || [ -n "$data_dir$corpus_dir" ] \
  || fail "give --data-dir, the folder of metadata.json or train_label.csv, --corpus-dir, or --miniature"
[ -z "$corpus_dir" ] || [ -z "$data_dir" ] || fail "give --corpus-dir or --data-dir, not both"
for name in corpus_dir data_dir network_config exp; do  # relative to where the command was given
  case "${!name}" in "" | /*) ;; *) printf -v "$name" '%s' "$here/${!name}" ;; esac
done
[ ! -f "$here/$mfcc_config" ] || mfcc_config=$here/$mfcc_config
NEEDS=${NEEDS:+$NEEDS,}dnn
. recipes/path.sh || exit 1
set -euo pipefail
. recipes/closed_set.sh

test_data=
[ -z "$corpus_dir" ] || data_dir=$exp/data/train test_data=$exp/data/test
[ -n "$data_dir" ] || data_dir=$exp/data-$variant
machine=(--device "$device" --threads "$threads")
# Crops of an archive are read 50 times as fast as of .pt files.
held=(--held-out "$held_out") validation=(--held-out "$held_out") sweep=(--held-out "$held_out")
# The accuracy on the test utterances is of the curves; no setting is chosen by it.
[ -z "$corpus_dir" ] || held=() validation=(--validation "$test_data") sweep=(--test "$test_data")
training=(--pack "$exp/packed" --model conformer --width "$width"
  --model-option "n_blocks=$num_blocks" --model-option "n_heads=$num_heads" --margin "$margin"
  --frames "$frames" --batch-size "$batch_size" --lr "$lr" --precision "$precision"
  --validations "$validations" --workers "$workers" --seed "$seed")
[ "$mask" = false ] || training+=(--mask)
[ -z "$network_config" ] || training+=(--config "$network_config")

within() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

identify() {  # identify COMMAND ARGUMENT...
  "$PYTHON" -m dnn.identify "$@" "${machine[@]}"
}

if within 0 && [ "$miniature" = true ]; then
  "$PYTHON" -m dnn.miniature mels "$data_dir" --variant "$variant" --seed "$seed"
fi

if within 0 && [ -n "$corpus_dir" ]; then
  cut_corpus
fi

if within 1; then
  identify train "$data_dir" --out "$exp/conformer" --steps "$steps" --warmup "$warmup" \
    "${validation[@]}" "${training[@]}"
fi

if within 2; then
  identify test "$exp/conformer" "${test_data:-$data_dir}" ${held[@]+"${held[@]}"} \
    --crops "$crops" --out "$exp/conformer/test"
fi

if within 3; then
  identify predict "$exp/conformer" "${test_data:-$data_dir}" --crops "$crops" --out "$exp/output.csv"
fi

if within 4 && [ -n "$sweep_batch_sizes$sweep_lrs$sweep_widths$sweep_models" ]; then
  identify sweep "$data_dir" --out "$exp/sweep" --steps "$sweep_steps" "${sweep[@]}" \
    "${training[@]}" \
    --batch-sizes $sweep_batch_sizes --lrs $sweep_lrs --widths $sweep_widths --models $sweep_models
fi

if within 5 && [ -n "$corpus_dir" ]; then
  classical
fi
