"""What every room needs; imports nothing else of ``ivector``.

errors      mistakes of the user, told in one line, the warnings, and the exit statuses
foreign     what others wrote: files, sizes, the schema of a model, names
estimators  what scikit-learn expects: NotFittedError, matrices of numbers, column names
extras      packages that are not installed, told with the extra that brings them
files       files that are whole or absent; models as .npz without pickles; lists of lines
kaldi       Kaldi's basic types on disk, binary and text
cli         the frame of a command: parser, options that many share, exit codes
commands    a package's table of commands, and the command that lists or runs them
kaldi_cli   the frame of commands that take Kaldi's options and tables
log         log lines and progress
portable    switches that make results the same on every x86-64
domain      how far recordings or vectors lie outside what a system was trained on
budget      limits of memory and disk, refused before work begins
parallel    work in shards, the results the same everywhere; state that outlives a kill
tables      Kaldi's archives and lists of anything, read and written as streams
lazy        a package's public names, imported on first use
jit         Numba's njit, which keeps kernels where that can be
lanes       vectors of float32 for Numba kernels, one frame a lane

Nothing here is heavier than numpy but estimators, jit, lanes and parallel's cluster, which only
their users import. It is the only part of ``ivector`` that ``plda`` and ``fusion`` use.
"""
