#!/usr/bin/env bash
# VoxSRC 2020: ResNetSE34L on a store of 40 log-mel energies, angular-prototypical loss.
#
#   bash recipes/voxsrc.sh --miniature [--variant features]               on generated data
#   bash recipes/voxsrc.sh --corpus-dir VOXCELEB2 --test-dir VOXCELEB1    recordings
#   bash recipes/voxsrc.sh --features-dir TREE --test-features-dir TREE   the published features
#
# Published features are trees SPEAKER/VIDEO/UTT.npy, (1, 40, n_frames); they are taken in bit for
# bit. Their lists, vox2_no_cuda.txt and vox1_no_cuda.txt, are found in the trees or beside them.
#
# To beat: 2.18 % EER on VoxCeleb1-O (J. S. Chung et al., 2020, same network and loss). Beside it,
# on the same list: Kaldi's x-vectors 3.13 %, i-vectors 5.33 %; SpeechBrain's ECAPA 0.80 % (cleaned).
#
# Miniature (20 speakers to train, 8 to test, generated; no results on speech), 31 s on two cores of
# an AMD EPYC (Zen 5, AVX-512), 46 s of CPU time from a fresh clone; --variant features makes the
# published form of the same recordings:
#   resnetse34l (small)   EER 22.0 % [17.3, 30.8]   minDCF(0.01) 0.984   960 trials
#   the same, features    EER 23.7 % [18.2, 30.6]   minDCF(0.01) 0.990
#
# Stages 1 and 2 are the two components of the original's pipeline. In a cluster each is a container
# that runs this script with --stage N --stop-stage N on a disk that they share; locally it is the
# same command. Machines that may be taken away are fine: features go on where they were, training
# goes on from its last checkpoint; SIGTERM saves one and exits with 75 (give the command again: a
# restart policy of Kubernetes does). A killed machine loses --save-every steps at most.

# What to run
miniature=false        # true: small generated VoxCelebs, small network, a minute or two
variant=recordings     # of the miniature: recordings, or features as the pipeline published them
corpus_dir=            # VoxCeleb2: holds .../id00012/VIDEO/00001.wav
test_dir=              # VoxCeleb1, likewise
features_dir=          # instead of both, features: holds id00012/VIDEO/00001.npy
test_features_dir=     # those of the trials; default: features_dir
train_list=            # of features: lines 'speaker path'; default: one beside them, or all
trials=                # lists, with commas between: O, E, H, O-cleaned, ... or files; default:
                       # O-cleaned, of features the one beside them
stage=0
stop_stage=4
nj=2                   # processes that compute features and read crops; they change no result
threads=0              # of the CPU in training; 0: all
device=auto
seed=0
data=                  # data folder, default data/voxsrc[-miniature]
exp=                   # experiment folder, default exp/voxsrc[-miniature]

# How
preset=voxsrc2020      # the pipeline's own numbers: n_fft 512, 25 ms Hann window, 10 ms shift, 0 to
                       # 8 kHz, log(x + 1e-6), 16-bit scale; clovaai: voxceleb_trainer's of today
num_mel_bins=40
storage=               # kaldi: one byte a number, 12.6 % of the audio's size; float16: 25 %, more
                       # exact; default: kaldi, of features the files' own
model=resnetse34l      # with self-attentive pooling
model_option=          # NAME=VALUE in JSON, with blanks between
loss=angular-prototypical
batch_size=750         # crops of an update
per_speaker=2          # of them by each speaker
frames=200             # of a crop
epochs=500
rate=1e-3              # Adam's, times decay every decay_every epochs
decay=0.95
decay_every=10
save_every=500         # steps between checkpoints
network_config=        # further fields of networks and trainings, TOML or JSON: docs/networks.md
compile=false
crops=10               # of each utterance that is scored; 0 scores it whole
crop_frames=400
bootstrap=1000         # replicates of the confidence intervals

help_message="Usage: bash recipes/voxsrc.sh [--miniature] [--NAME VALUE]...
The options are the variables on top of recipes/voxsrc.sh, with dashes for underscores.
Stages: 0 corpus, 1 log-mel store, 2 training, 3 scores, 4 error rates.
A training that was stopped is resumed by the same command; SIGTERM saves it and exits with 75."

. "$(dirname "${BASH_SOURCE[0]}")/network.sh" || exit 1
name=voxsrc
[ $miniature = false ] || name=$name-miniature
data=${data:-data/$name}
exp=${exp:-exp/$name}
absolute corpus_dir test_dir features_dir test_features_dir train_list data exp network_config
case $trials in /* | "") ;; *) [ ! -f "$_nw_here/$trials" ] || absolute trials ;; esac
test_features_dir=${test_features_dir:-$features_dir}
[ -z "$test_features_dir" ] || [ -n "$features_dir" ] || fail "--test-features-dir needs --features-dir"
if [ -n "$features_dir" ]; then
  [ -z "$corpus_dir$test_dir" ] || fail "give --features-dir or --corpus-dir, not both"
  [ $miniature = false ] || fail "--miniature makes its own data; leave --features-dir out"
fi
made=$data/corpus
case "$variant" in
  recordings) ;;
  features)
    [ $miniature = true ] && [ -z "$corpus_dir$test_dir" ] \
      || fail "--variant features is of --miniature alone, without --corpus-dir and --test-dir"
    made=$data/features
    features_dir=$made/vox2_train_feats test_features_dir=$made/vox1_test_feats ;;
  *) fail "--variant is recordings or features, not '$variant'" ;;
esac

if within 0; then
  if [ $variant = features ]; then
    "$PYTHON" -m recipes.miniature voxsrc_features "$made" --seed "$seed" --nj "$nj"
  elif [ $miniature = true ]; then
    root=${corpus_dir:-$made}
    "$PYTHON" -m recipes.miniature voxceleb "$root" --seed "$seed" --nj "$nj"
    corpus_dir=$root/vox2 test_dir=$root/vox1
  fi
  if [ -n "$features_dir" ]; then
    "$PYTHON" -m recipes.prepare voxsrc_features --corpus-dir "$features_dir" \
      --test-dir "$test_features_dir" --out "$data" ${trials:+--trials "$trials"} \
      ${train_list:+--train-list "$train_list"}
  else
    "$PYTHON" -m recipes.prepare voxceleb2 --corpus-dir "$corpus_dir" --test-dir "$test_dir" \
      --trials "${trials:-O-cleaned}" --out "$data"
  fi
fi

tested=$exp/logmel
if [ -n "$features_dir" ]; then
  tested=$exp/logmel-test
  if within 1; then
    for part in train test; do
      tree=$features_dir store=$exp/logmel
      [ $part = train ] || tree=$test_features_dir store=$tested
      "$PYTHON" -m ivector import-log-mels "$tree" "$store" --list "$data/fold0/$part.utt2spk" \
        --storage "${storage:-file}" --nj "$nj"
    done
  fi
elif within 1; then
  "$PYTHON" -m ivector.features.store "$data/wav" "$exp/logmel" --preset "$preset" \
    --num-mel-bins "$num_mel_bins" --storage "${storage:-kaldi}" --nj "$nj"
fi

if within 2; then
  options=()
  for one in $model_option; do options+=(--model-option "$one"); done
  [ -z "$network_config" ] || options+=(--config "$network_config")
  [ "$compile" = false ] || options+=(--compile)
  trained "$PYTHON" -m recipes.train_embedding --features "$exp/logmel" \
    --utt2spk "$data/fold0/train.utt2spk" --out "$exp/training" --model "$model" --loss "$loss" \
    --batch-size "$batch_size" --per-speaker "$per_speaker" --frames "$frames" \
    --epochs "$epochs" --lr "$rate" --decay "$decay" --decay-every "$decay_every" \
    --save-every "$save_every" --workers "$((nj - 1))" --threads "$threads" --device "$device" \
    --seed "$seed" ${options[@]+"${options[@]}"}
fi

if within 3; then
  for list in "$data"/fold0/trials*; do
    "$PYTHON" -m dnn.verify "$exp/training" --features "$tested" --trials "$list" \
      --out "$exp/scores/$(basename "$list")" --crops "$crops" --crop-frames "$crop_frames" \
      --device "$device" --threads "$threads"
  done
fi

if within 4; then
  for list in "$data"/fold0/trials*; do
    echo "$(basename "$list")"
    "$PYTHON" -m fusion.evaluate "resnetse34l=$exp/scores/$(basename "$list")" "$list" \
      --utt2spk "$data/wav/utt2spk" --p-target 0.01 0.05 --bootstrap "$bootstrap" \
      --json "$exp/results-$(basename "$list").json"
  done
fi
