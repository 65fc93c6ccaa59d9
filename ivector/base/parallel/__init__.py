"""Work in shards, on whatever there is: the results and their order are the same everywhere.

shards      the shard map: a function over shards, results in their order
workers     what runs shards: backends, BLAS on one thread
forks       shards in forks of a process that has imported everything
cluster     shards on a Dask cluster, as futures
checkpoint  state and partial sums of a training, so that it goes on after a kill
"""
