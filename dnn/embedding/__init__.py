"""Embeddings of utterances: saved networks, extraction, scores of trials.

export      Trained networks as files that others can read: weights in safetensors, all else in
            JSON.
extraction  Embeddings of utterances of any length, many at a time.
trials      Scores of a trial list by cosine, of whole utterances or of several crops of each.
"""
