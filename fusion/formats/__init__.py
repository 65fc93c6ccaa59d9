"""Score files and trial lists of many kinds, told apart by what is in them.

tables       Scores and trials as compact arrays: what everything else is read into.
files        The readers and writers.
matching     Scores matched to trials, by ids.
identities   Ids of recordings, with the side of a telephone call where files name it.
layouts      Which delimiter and columns a file without a header has, told from its content.
headers      Which delimiter and columns a file with a header has, told from their names.
parsing      Lines to cells, ids to numbers, scores and labels.
records      A file in blocks: ids numbered and lines remembered, in little memory.
kernels      The loops of parsing and records, 2 MiB at a time.
hdf5         Matrices of scores and keys: the files of BOSARIS, SIDEKIT, hyperion, PyBOSARIS.
systems      Scores of the same trials by several systems, side by side; NaN where one has none.
speakers     Which speaker each side of a trial is of: what the bootstrap draws.
corpus_ids   What the ids of known corpora look like, and where the speaker stands in them.
measures     Durations, genders and other columns beside the scores, from tables with a header.
known_lists  Published trial lists, by their numbers of trials and MD5 sums.
linting      All that may be wrong with files, by file and line.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__)
