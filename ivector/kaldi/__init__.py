"""Kaldi's commands from recordings to i-vectors, with its options, files and tables.

table       all of them by name, as python -m ivector.kaldi runs them
__main__    python -m ivector.kaldi NAME: runs one
copying     copy-feats, copy-vector, copy-matrix, feat-to-len, subsample-feats
sound       compute-mfcc-feats, compute-fbank-feats, extract-segments
recordings  recordings as entries of tables: wav.scp, and archives of wav
frames      compute-vad, add-deltas, apply-cmvn-sliding, select-voiced-frames
mixtures    gmm-global-init-from-feats, -acc-stats, -est, …, fgmm-global-acc-stats, -est, …
posteriors  gmm-gselect, fgmm-global-gselect-to-post, scale-post
extractor   ivector-extractor-init, -acc-stats, -est, …, ivector-extract, ivector-extract-online

Each is a function with a declaration above it; parser, help and docs/kaldi.md come of these. They
import what computes when they run, so that help is quick.
"""
