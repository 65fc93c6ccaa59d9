"""What every room needs; imports nothing else of ``ivector``.

errors      mistakes of the user, told in one line, and the warnings
estimators  what scikit-learn expects: NotFittedError, matrices of numbers, column names
extras      packages that are not installed, told with the extra that brings them
files       files that are whole or absent; models as .npz without pickles; lists of lines
kaldi       Kaldi's basic types on disk, binary and text
cli         the frame of a command: parser, options that many share, exit codes
commands    a package's table of commands, and the command that lists or runs them
log         log lines and progress
budget      limits of memory and disk, refused before work begins
shards      the shard map: a function over shards, results in their order
workers     what runs shards: backends, BLAS on one thread
forks       shards in forks of a process that has imported everything
cluster     shards on a Dask cluster, as futures
checkpoint  state and partial sums of a training, so that it goes on after a kill
lazy        a package's public names, imported on first use
jit         Numba's njit, which keeps kernels where that can be
lanes       vectors of float32 for Numba kernels, one frame a lane

Nothing here is heavier than numpy but cluster, estimators, jit and lanes, which only their users
import. It is the only part of ``ivector`` that ``plda`` and ``fusion`` use.
"""
