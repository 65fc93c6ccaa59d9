"""Embeddings of utterances: saved networks, extraction, scores of trials.

export      Trained networks as files for others: weights in safetensors, all else in JSON.
onnx        Trained networks as ONNX files.
extraction  Embeddings of utterances of any length, many at a time.
trials      Cosine scores of a trial list, of whole utterances or of several crops of each.
"""
