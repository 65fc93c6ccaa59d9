#!/usr/bin/env bash
# Deep Speaker: residual network on 160 x 64 log-mel energies, softmax, then triplets of cosines.
#
#   bash recipes/deep_speaker.sh --miniature                 the whole pipe on generated data
#   bash recipes/deep_speaker.sh --corpus-dir DIR            LibriSpeech
#
# To beat (C. Li et al., 2017, as re-implemented on LibriSpeech): EER 4.3 % after softmax, 2.5 %
# after triplets. There, the speakers that are tested were trained on, with other utterances; here
# they are not (the train-* sets train, the others test), which is harder. A step of the first
# program took 50 s for 6 utterances on a CPU: see tests/benchmarks/bench_deep_speaker.py.
#
# Miniature (20 speakers to train, 8 to test, generated; no results on speech), 54 s of CPU time
# of an AMD EPYC (Zen 5, AVX-512) from a fresh clone; EER on 320 trials, with each --storage:
#                     kaldi (the default)     float16
#   softmax           11.5 % [6.4, 23.5]      15.1 % [9.0, 26.0]
#   softmax+triplet   10.8 % [5.2, 26.9]      14.9 % [9.6, 22.6]
# These differ by the chance of the training: docs/scaling.md has what storages cost on speech.
#
# speechocean762, 64 speakers to train and 64 others to test (28,672 trials, 448 targets), channels
# 16 32 64, 300 steps of softmax, then 120 of triplets (batches of 16 speakers, 2 utterances of each),
# on one thread of an AMD EPYC, --storage float16; EER in % with two seeds, each interval about 3 to
# 6.5:
#   softmax                                                          4.2
#   negatives of the batch, any (--loss-option mining="random")      4.2   4.5
#   negatives of the batch, semi-hard (the default)                  4.0   4.3
#   semi-hard, and --hard-every 30                                   4.3   4.2
# So few speakers leave no triplet to learn from (the loss is below 0.01): no choice is better there.

# What to run
miniature=false        # true: small generated LibriSpeech, small network, a minute or two
corpus_dir=            # LibriSpeech: holds [LibriSpeech/]SET/SPEAKER/CHAPTER/*.flac
prepare_options=       # more for stage 0, see: python -m recipes.prepare librispeech --help
stage=0
stop_stage=5
nj=2                   # processes that compute features and read crops; they change no result
threads=0              # of the CPU in training; 0: all
device=auto
seed=0
data=                  # data folder, default data/deep_speaker[-miniature]
exp=                   # experiment folder, default exp/deep_speaker[-miniature]

# How
storage=kaldi          # one byte a number, 20 % of the audio's size; float16: 40 %, more exact
architecture=rescnn    # or gru
channels=              # of the network's stages; empty: 64 128 256 512 (gru: 64)
frames=160
batch_size=64          # crops of an update
per_speaker=4          # of them by each speaker, for triplets; negatives are chosen across the batch
hard_every=0           # steps; bring speakers that the network takes for each other into a batch,
                       # embedded anew so often, for triplets
softmax_steps=60000
softmax_rate=1e-3
triplet_steps=40000
triplet_rate=1e-4
save_every=500         # steps between checkpoints
network_config=        # further fields of networks and trainings, TOML or JSON: docs/networks.md
crops=0                # of each utterance that is scored; 0 scores it whole
bootstrap=1000         # replicates of the confidence intervals

help_message="Usage: bash recipes/deep_speaker.sh [--miniature] [--NAME VALUE]...
The options are the variables on top of recipes/deep_speaker.sh, with dashes for underscores.
Stages: 0 corpus, 1 log-mel energies, 2 softmax, 3 triplets, 4 scores, 5 error rates.
A training that was stopped is resumed by the same command; SIGTERM saves it and exits with 75."

. "$(dirname "${BASH_SOURCE[0]}")/network.sh" || exit 1
name=deep_speaker
[ $miniature = false ] || name=$name-miniature
data=${data:-data/$name}
exp=${exp:-exp/$name}
absolute corpus_dir data exp network_config

if within 0; then
  if [ $miniature = true ]; then
    corpus_dir=${corpus_dir:-$data/corpus}
    "$PYTHON" -m recipes.miniature librispeech "$corpus_dir" --seed "$seed" --nj "$nj"
  fi
  read -ra words <<<"$prepare_options"
  "$PYTHON" -m recipes.prepare librispeech --corpus-dir "$corpus_dir" --out "$data" \
    ${words[@]+"${words[@]}"}
fi

if within 1; then
  "$PYTHON" -m ivector.features.store "$data/wav" "$exp/logmel" --preset kaldi --num-mel-bins 64 \
    --storage "$storage" --nj "$nj"
fi

phase() {  # phase NAME OPTION...: one phase of the training on the first fold
  local phase=$1 network=()
  shift
  read -ra words <<<"$channels"
  [ ${#words[@]} -eq 0 ] || network=(--channels "${words[@]}")
  [ -z "$network_config" ] || network+=(--config "$network_config")
  trained "$PYTHON" -m dnn.deep_speaker "$phase" --features "$exp/logmel" \
    --utt2spk "$data/fold0/train.utt2spk" --out "$exp/$phase" --architecture "$architecture" \
    --frames "$frames" --batch-size "$batch_size" --per-speaker "$per_speaker" \
    --hard-every "$hard_every" \
    --save-every "$save_every" --workers "$((nj - 1))" --threads "$threads" --device "$device" \
    --seed "$seed" ${network[@]+"${network[@]}"} "$@"
}

if within 2; then
  phase softmax --steps "$softmax_steps" --lr "$softmax_rate"
fi

if within 3; then
  phase triplet --steps "$triplet_steps" --lr "$triplet_rate" --init "$exp/softmax"
fi

if within 4; then
  for one in softmax triplet; do
    "$PYTHON" -m dnn.verify "$exp/$one" --features "$exp/logmel" --trials "$data/fold0/trials" \
      --enroll "$data/fold0/enroll" --out "$exp/scores/$one" --crops "$crops" \
      --crop-frames "$frames" --device "$device" --threads "$threads"
  done
fi

if within 5; then
  # EER on the ROC convex hull and minDCF with 95 % intervals of a bootstrap over speakers.
  "$PYTHON" -m fusion.evaluate "softmax=$exp/scores/softmax" "softmax+triplet=$exp/scores/triplet" \
    "$data/fold0/trials" --utt2spk "$data/wav/utt2spk" --p-target 0.01 --bootstrap "$bootstrap" \
    --json "$exp/results.json"
fi
