"""Kaldi's commands over i-vectors and PLDA, with its options, files and tables.

table     all of them by name, as python -m plda.kaldi runs them
__main__  python -m plda.kaldi NAME: runs one
vectors   ivector-mean, -subtract-global-mean, -normalize-length, -transform, transform-vec
models    ivector-compute-lda, ivector-compute-plda, -copy-plda, -adapt-plda
scoring   ivector-plda-scoring, -plda-scoring-dense, -compute-dot-products, compute-eer
gathered  vectors of tables as matrices with their speakers

Each is a function with a declaration above it; parser, help and docs/kaldi.md come of these. They
import what computes when they run, so that help is quick.
"""
