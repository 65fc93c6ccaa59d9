"""Speaker networks of others, in ONNX files, and what they hear of a recording.

front_ends  What a network takes: samples, or log-mel energies as its own toolkit computes them.
model       A network in an ONNX file: what it takes and gives, looked at before it is run.
extraction  Embeddings of recordings, in shards; bad recordings are told.
"""
