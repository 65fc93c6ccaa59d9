"""Files that networks are trained from: Kaldi matrices, binary records, tensors, shards, trees."""
