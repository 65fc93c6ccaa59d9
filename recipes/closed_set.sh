# What the identification recipes do with a folder of speakers (--corpus-dir); sourced by them behind
# recipes/path.sh, with $corpus_dir, $train_per_speaker, $test_per_speaker, $mfcc_config,
# $classical_options, $workers, $seed and $exp set. Gives:
#
#   cut_corpus      the first utterances of every speaker into $exp/data/train, the rest into test
#   classical       i-vector + PLDA and GMM-UBM on the same cut, and one table of all systems
#                   in $exp; done already, they are left as they are

cut_corpus() {
  local options=(--train-per-speaker "$train_per_speaker")
  [ -z "$test_per_speaker" ] || options+=(--test-per-speaker "$test_per_speaker")
  "$PYTHON" -m recipes.cut_speakers --corpus-dir "$corpus_dir" --out "$exp/data" "${options[@]}"
}

classical() {
  local common=(--data "$exp/data" --exp "$exp" --nj "$((workers > 1 ? workers : 1))" --seed "$seed")
  local words
  read -ra words <<<"$classical_options"
  "$PYTHON" -m recipes.identify_classical "${common[@]}" --mfcc-config "$mfcc_config" ${words[@]+"${words[@]}"}
  "$PYTHON" -m recipes.identify_report "$exp"
}
