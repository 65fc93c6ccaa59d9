#!/usr/bin/env bash
# tiny-voxceleb challenge: 100 speakers to train from scratch, no other data, no other models.
#
#   bash recipes/tiny_voxceleb.sh --miniature                on generated shards and lists
#   bash recipes/tiny_voxceleb.sh --corpus-dir DIR           recordings or tar shards, as published
#
# To beat, EER on the ROC convex hull: 27.3 % (the challenge's prototype), 23.05 % (ResNet10),
# 22.05 % (ResNeXt), 19.03 % (best result of the course). Nothing but the training split is learnt
# from: every crop is changed by noise, babble of its own speakers, simulated rooms, speed (each a
# new speaker, so 300 classes) and masks. I-vectors and GMM-UBM of the same recordings
# (recipes/run.sh) are fused with the network.
#
# Miniature (20 speakers to train, 8 to test, generated; no results on speech), 50 s on two cores of
# an AMD EPYC (Zen 5, AVX-512), 62 s of CPU time from a fresh clone; EER on 960 trials of dev, intervals
# by its 8 speakers:
#   cosine 29.8 % [24.4, 38.7]   as-norm 29.7 % [24.9, 37.8]   i-vectors 17.0 % [11.4, 27.5]
#   gmm-ubm 13.0 % [7.9, 24.5]   fusion 11.3 % [6.9, 21.0], which dev taught; 13.9 % where each
#   speaker of dev is judged by a fusion of the others
#
# Stage 4 writes submissions, "score id1 id2" in the order of the challenge's lists, between 0 and
# 1, to EXP/submission: SYSTEM.txt of every system, best.txt of the best of them on dev, fusion.txt
# of all, learnt on dev; each is dev and eval together, as the leaderboard takes it, and SYSTEM/ has
# {val,dev,eval}.txt apart. submission.txt is that of --submit.

# What to run
miniature=false        # true: small generated shards, small network, a minute or two
corpus_dir=            # holds {train,val,dev,eval}/ with recordings or tar shards
lists_dir=             # holds the trial lists and tiny_meta.csv; default: corpus_dir
stage=0
stop_stage=5
nj=2                   # processes that compute features and read crops; they change no result
threads=0              # of the CPU in training; 0: all
device=auto
seed=0
data=                  # data folder, default data/tiny_voxceleb_network[-miniature]
exp=                   # experiment folder, default exp/tiny_voxceleb_network[-miniature]

# How
num_mel_bins=64
storage=kaldi          # one byte a number, 20 % of the audio's size; float16: 40 %, more exact
model=resnetse34l
model_option=          # NAME=VALUE in JSON, with blanks between
loss=aam-softmax
margin=0.2
batch_size=128
frames=250             # of a crop
epochs=120             # crops of each recording at each speed
rate=1e-3
decay=0.7              # of the rate, every decay_every epochs
decay_every=10
weight_decay=0.01
speeds="0.9 1.0 1.1"
augment=0.8            # share of the crops whose sound is changed
spec_augment=true
musan=                 # noises (data, not speakers: see the challenge's rules); empty simulates
rirs=                  # impulse responses; empty simulates
save_every=500         # steps between checkpoints
network_config=        # further fields of networks and trainings, TOML or JSON: docs/networks.md
top_n=50               # training speakers that adaptive s-norm takes for each side of a trial
classical="ivector gmm-ubm"  # systems of recipes/run.sh to fuse with; empty: the network alone
classical_options=     # more options of recipes/run.sh for them, with blanks between
submit=fusion          # cosine, as-norm, a classical system, best or fusion
bootstrap=1000         # replicates of the confidence intervals

help_message="Usage: bash recipes/tiny_voxceleb.sh [--miniature] [--NAME VALUE]...
The options are the variables on top of recipes/tiny_voxceleb.sh, with dashes for underscores.
Stages: 0 corpus, 1 log-mel store, 2 training, 3 scores, 4 submissions, 5 error rates.
A training that was stopped is resumed by the same command; SIGTERM saves it and exits with 75."

. "$(dirname "${BASH_SOURCE[0]}")/network.sh" || exit 1
name=tiny_voxceleb_network
[ $miniature = false ] || name=$name-miniature
data=${data:-data/$name}
exp=${exp:-exp/$name}
absolute corpus_dir lists_dir data exp musan rirs network_config
[ $miniature = false ] || corpus_dir=${corpus_dir:-$data/corpus}
lists=${lists_dir:-$corpus_dir}
case " cosine as-norm best $classical fusion " in
  *" $submit "*) ;;
  *) fail "--submit is one of cosine, as-norm, ${classical:+${classical// /, }, }best, fusion; not '$submit'" ;;
esac

if within 0; then
  [ $miniature = false ] || "$PYTHON" -m recipes.miniature tiny_voxceleb "$corpus_dir" \
    --seed "$seed" --nj "$nj"
  "$PYTHON" -m recipes.prepare tiny_voxceleb --corpus-dir "$corpus_dir" --lists-dir "$lists" \
    --out "$data"
fi

if within 1; then
  "$PYTHON" -m ivector.features.store "$data/wav" "$exp/logmel" --preset clovaai \
    --num-mel-bins "$num_mel_bins" --storage "$storage" --nj "$nj"
fi

if within 2; then
  options=()
  for one in $model_option; do options+=(--model-option "$one"); done
  [ -z "$network_config" ] || options+=(--config "$network_config")
  [ "$spec_augment" = false ] || options+=(--spec-augment)
  [ -z "$musan" ] || options+=(--musan "$musan")
  [ -z "$rirs" ] || options+=(--rirs "$rirs")
  # The challenge's validation list, of training speakers, chooses the best weights.
  [ ! -f "$data/fold0/trials-val" ] || options+=(--trials "$data/fold0/trials-val"
    --trial-features "$exp/logmel")
  read -ra factors <<<"$speeds"
  trained "$PYTHON" -m recipes.train_embedding --data "$data/wav" \
    --utt2spk "$data/fold0/train.utt2spk" --out "$exp/training" --model "$model" --loss "$loss" \
    --margin "$margin" --batch-size "$batch_size" --frames "$frames" --epochs "$epochs" \
    --lr "$rate" --decay "$decay" --decay-every "$decay_every" --weight-decay "$weight_decay" \
    --num-mel-bins "$num_mel_bins" --speeds "${factors[@]}" --augment "$augment" \
    --save-every "$save_every" --workers "$((nj - 1))" --threads "$threads" --device "$device" \
    --seed "$seed" ${options[@]+"${options[@]}"}
fi

list_of() {  # list_of NAME: the challenge's file of a list
  local file=$lists/$1_trials.txt
  [ -f "$file" ] || file=$lists/$1_trials_no_gt.txt
  [ ! -f "$file" ] || echo "$file"
}

if within 3; then
  # Of all utterances, so that a back-end of `plda` can be learnt from those of training too.
  "$PYTHON" -m dnn.extract "$exp/training" --features "$exp/logmel" --out "$exp/vectors.npz" \
    --device "$device" --threads "$threads"
  for one in val dev eval; do
    list=$(list_of $one)
    [ -n "$list" ] || continue
    "$PYTHON" -m dnn.verify --vectors "$exp/vectors.npz" --trials "$list" \
      --out "$exp/scores/cosine/$one.txt" --score first
    # Against the training speakers; the score then lies between 0 and 1.
    "$PYTHON" -m recipes.normalise_scores "$exp/vectors.npz" --trials "$list" \
      --cohort "$data/fold0/train.utt2spk" --top-n "$top_n" \
      --out "$exp/scores/as-norm/$one.txt" --submission
  done
  # Every system scores the same lists; stage 0 of run.sh finds the corpus made already.
  if [ -n "$classical" ]; then
    printf -v quoted '%q' "$lists"
    read -ra options <<<"$classical_options"
    bash recipes/run.sh --corpus tiny_voxceleb --corpus-dir "$corpus_dir" --data "$data" \
      --exp "$exp/classical" "--prepare-options=--lists-dir $quoted" --systems "$classical" \
      --dev-folds 0 --stop-stage 6 --nj "$nj" --seed "$seed" ${options[@]+"${options[@]}"}
  fi
fi

if within 4; then
  systems=(cosine="$exp/scores/cosine" as-norm="$exp/scores/as-norm")
  for one in $classical; do systems+=("$one=$exp/classical/$one/scores/fold0"); done
  for one in val dev eval; do
    list=$(list_of $one)
    [ -z "$list" ] || systems+=(--list "$one=$list")
  done
  "$PYTHON" -m recipes.submit "${systems[@]}" --utt2spk "$data/wav/utt2spk" \
    --out "$exp/submission" --submit "$submit"
fi

if within 5; then
  for one in val dev; do
    list=$(list_of $one)
    [ -n "$list" ] || continue
    systems=()
    for system in cosine as-norm $classical fusion; do
      systems+=("$system=$exp/submission/$system/$one.txt")
    done
    "$PYTHON" -m fusion.evaluate "${systems[@]}" "$list" --score-column first \
      --utt2spk "$data/wav/utt2spk" --allow-duplicates --p-target 0.01 --bootstrap "$bootstrap" \
      --json "$exp/results-$one.json"
  done
fi
