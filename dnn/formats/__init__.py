"""Files that networks are trained from, where ``ivector.formats`` does not read them.

mapped            Files mapped into memory when first read, a fixed number at a time.
matrices          Rows of Kaldi's matrices, plain or compressed, without reading the others.
kernels_matrices  The kernel that unpacks some frames of a compressed matrix.
shards            Recordings in tar shards, read where they lie.
tensors           Features in ``.pt`` files, of which nothing is unpickled but a tensor.
librispeech       LibriSpeech's tree of recordings, and Deep Speaker's table of one.
"""
