#!/usr/bin/env bash
# VGG-M speaker identification on binary records.
#
# Training until the accuracy on held-out records has not risen for five epochs, test, predictions, a
# second network, a sweep over batch size, learning rate and width, and a report of three pages (PDF,
# Markdown and HTML) on all of it.
#
#   bash recipes/vggm_identification.sh --miniature             generated records, in a minute
#   bash recipes/vggm_identification.sh --data-dir DIR          DIR/voxceleb-abridged-N.bin
#   bash recipes/vggm_identification.sh --corpus-dir DIR        any folder of recordings, one
#                                                               sub-folder for each speaker
#   bash recipes/vggm_identification.sh --data-dir DIR --test-data NEW.bin --stage 2 --stop-stage 3
#                                                               the trained network on a new set, or
#   python -m dnn.identify test exp/vggm_identification/vgg-m NEW.bin --out DIR
#
# A record is a float32 label and 512 × 300 float32 (dnn/data/records.py), samples may lack the label;
# the classes file, voxceleb-abridged-classes.txt, has
# "0 Miley_Cyrus" ... a line. The real set: 17,460 records of 50 speakers.
# Figures to beat: 25 % top-1 on the 50 speakers is the pass mark (guessing: 2 %). On all 1,251
# speakers of VoxCeleb1: 80.5 % top-1 and 92.1 % top-5 (the paper), 81.8 and 93.2 (a
# re-implementation).

# 50 generated speakers (python -m dnn.miniature records DIR --speakers 50 --train 12 --test 3; 10 to
# train on, 2 to end by, 150 tests; no results on speech), --width 0.125 --frames 100 --batch-size 16
# --epochs 20, one thread of an AMD EPYC (Zen 5, AVX-512): VGG-M 63.3 % [55.4, 70.6], x-vector 78.7 %
# [71.4, 84.5]; the x-vector is 15.3 points [5.9, 24.8] better, paired by speaker.
# Miniature (6 speakers, 18 tests), 42 s of CPU time there: VGG-M 55.6 % [33.7, 75.4], x-vector 83.3 %
# [60.8, 94.2].

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
# From the folder to the table, this recipe took 10 minutes.
# Its settings were chosen by 2 of the 7 training sentences, the network seeing the other 5 (45.3 % of
# 128 right after 300 steps of 300); the number of epochs by the time. Sizes of the classical systems:
# recipes/conf/folder.conf, chosen for verification between speakers of the same set.

miniature=false        # true, or the bare flag: small generated records of exactly that format
data_dir=              # folder of voxceleb-abridged-N.bin; a data directory (wav.scp, utt2spk) will do
corpus_dir=            # instead: a folder of speakers, cut into a part to train on and one to test
train_per_speaker=7    # of corpus_dir: first utterances of each speaker, by sorted id, to train on
test_per_speaker=      # those that follow, to test; empty takes all
mfcc_config=recipes/conf/mfcc_16k.conf  # of the classical systems that corpus_dir is compared with
classical_options=     # more for them, see: python -m recipes.identify_classical --help
classes=               # default: voxceleb-abridged-classes.txt or classes.txt in data_dir
test_data=             # records to test on; empty holds out the last ones of each speaker
held_out=35            # that many, a tenth of the real set
inner=17               # of those left, the last ones of each speaker, whose accuracy ends the training
patience=5             # epochs without a rise of it after which it ends; 0 trains for all epochs
exp=exp/vggm_identification
stage=0
stop_stage=6

features=spectrogram   # of recordings also log-spectrogram
width=1                # of the channels; 0.5 has a quarter of the work
frames=300             # of a training crop: whole records; shorter ones train faster
batch_size=64
lr=1e-3
epochs=30
network_config=        # further fields of networks and trainings, TOML or JSON: docs/networks.md
precision=auto         # bfloat16 is twice as fast on processors that compute in it
validations=10         # accuracies measured on the way, for the curves
second=xvector         # network to compare with: time delays, where VGG-M has images
sweep_epochs=10
sweep_batch_sizes="16 256"
sweep_lrs="1e-4 3e-3"
sweep_widths="0.25 0.5"
workers=2              # processes that read records ahead
threads=0              # of the CPU; 0 takes all cores
device=auto            # takes a GPU if there is one
seed=0

help_message="Usage: bash recipes/vggm_identification.sh --miniature | --corpus-dir DIR | --data-dir DIR
[--NAME VALUE]...
The options are the variables on top of recipes/vggm_identification.sh, with dashes for underscores.
Stages: 0 data, 1 training, 2 test, 3 predictions, 4 second network, 5 sweep and report/report.pdf,
6 classical systems and one table (of --corpus-dir)."

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
  exp=exp/vggm_identification_miniature
  width=0.125 frames=100 batch_size=8 lr=5e-4 epochs=16 held_out=3 inner=2
  sweep_epochs=6 sweep_batch_sizes=16 sweep_lrs=2e-3 sweep_widths=0.0625
  workers=0 threads=1 device=cpu ;;
*" --corpus-dir "* | *" --corpus-dir="*)
  # For an hour or two of short recordings; the comparison and the sweep only if asked for.
  exp=exp/identification
  features=log-spectrogram width=0.5 frames=100 batch_size=32 epochs=36 validations=4 patience=0
  second= sweep_batch_sizes= sweep_lrs= sweep_widths= ;;
esac
set -- ${given[@]+"${given[@]}"}
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
here=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
fail() { echo "vggm_identification.sh: error: $1" >&2; exit 2; }
[ $# -eq 0 ] || fail "unexpected argument '$1'; options are --NAME VALUE"
for name in stage stop_stage train_per_speaker held_out inner patience frames batch_size validations workers threads seed; do
  case "${!name}" in
    "" | *[!0-9]*) fail "--${name//_/-} takes a whole number, got '${!name}'" ;;
  esac
done
[ "$stop_stage" -le 6 ] || fail "--stop-stage is 0 to 6, got $stop_stage"
[ "$miniature" = true ] || [ -n "$data_dir$corpus_dir" ] \
  || fail "give --data-dir, the folder of voxceleb-abridged-N.bin, --corpus-dir, or --miniature"
[ -z "$corpus_dir" ] || [ -z "$data_dir$test_data" ] \
  || fail "--corpus-dir makes data and test data; give it without --data-dir and --test-data"
for name in corpus_dir data_dir classes test_data network_config exp; do  # relative to where the command was given
  case "${!name}" in "" | /*) ;; *) printf -v "$name" '%s' "$here/${!name}" ;; esac
done
[ ! -f "$here/$mfcc_config" ] || mfcc_config=$here/$mfcc_config
NEEDS=${NEEDS:+$NEEDS,}dnn
. recipes/path.sh || exit 1
set -euo pipefail
. recipes/closed_set.sh

[ -z "$corpus_dir" ] || data_dir=$exp/data/train test_data=$exp/data/test
[ -n "$data_dir" ] || data_dir=$exp/data
labels=() train=(--held-out "$held_out") test=("$data_dir" --held-out "$held_out") sweep=("${train[@]}")
[ -z "$classes" ] || labels=(--classes "$classes")
if [ -n "$test_data" ]; then
  train=() test=("$test_data") sweep=(--test "$test_data")
fi
# Of the curves; no setting is chosen by it.
[ -z "$corpus_dir" ] || train=(--validation "$test_data")
spectrogram=(--features "$features")
machine=(--device "$device" --threads "$threads")
training=(--frames "$frames" --batch-size "$batch_size" --lr "$lr" --width "$width"
  --precision "$precision" --validations "$validations" --workers "$workers" --seed "$seed")
[ -z "$network_config" ] || training+=(--config "$network_config")
ends=()
if [ "$patience" -gt 0 ]; then  # by an accuracy once an epoch, of records that the test does not have
  ends=(--patience "$patience" --inner "$inner" --keep best --validations "${epochs%.*}")
  [ -z "$corpus_dir" ] || train=()
fi

within() { [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ]; }

identify() {  # identify COMMAND ARGUMENT...
  "$PYTHON" -m dnn.identify "$@" "${machine[@]}"
}

if within 0 && [ "$miniature" = true ]; then
  "$PYTHON" -m dnn.miniature records "$data_dir" --speakers 6 --train 10 --test 3 --seed "$seed"
fi

if within 0 && [ -n "$corpus_dir" ]; then
  cut_corpus
fi

if within 1; then
  identify train "$data_dir" ${labels[@]+"${labels[@]}"} "${spectrogram[@]}" \
    ${train[@]+"${train[@]}"} --out "$exp/vgg-m" --model vgg-m --epochs "$epochs" "${training[@]}" \
    ${ends[@]+"${ends[@]}"}
fi

if within 2; then
  identify test "$exp/vgg-m" "${test[@]}" ${labels[@]+"${labels[@]}"} --out "$exp/vgg-m/test"
fi

if within 3; then  # of all records of a set, whatever their labels say
  identify predict "$exp/vgg-m" "${test_data:-$data_dir}" --out "$exp/vgg-m/output.csv"
fi

if within 4 && [ -n "$second" ]; then
  identify train "$data_dir" ${labels[@]+"${labels[@]}"} "${spectrogram[@]}" \
    ${train[@]+"${train[@]}"} --out "$exp/$second" --model "$second" --epochs "$epochs" \
    "${training[@]}" ${ends[@]+"${ends[@]}"}
  identify test "$exp/$second" "${test[@]}" ${labels[@]+"${labels[@]}"} --out "$exp/$second/test"
fi

if within 5 && [ -n "$second$sweep_batch_sizes$sweep_lrs$sweep_widths" ]; then
  identify sweep "$data_dir" ${labels[@]+"${labels[@]}"} "${spectrogram[@]}" "${sweep[@]}" \
    --out "$exp/sweep" --model vgg-m --epochs "$sweep_epochs" "${training[@]}" \
    --batch-sizes $sweep_batch_sizes --lrs $sweep_lrs --widths $sweep_widths --models $second
  "$PYTHON" -m dnn.identify report "$exp" --out "$exp/report"
fi

if within 6 && [ -n "$corpus_dir" ]; then
  classical
fi
