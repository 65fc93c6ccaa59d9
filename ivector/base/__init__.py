"""What every room needs: errors, atomic files, logging and progress, shards, Kaldi's basic types.

Imports nothing heavier than numpy; the only part of ``ivector`` that ``plda`` and ``fusion`` use.
"""
