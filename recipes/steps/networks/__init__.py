"""Steps of the systems that are networks: stages 7 and 8, but for the back-end and the scores.

xvector     7: networks, trained for every fold
embedder    7: embeddings of all recordings by a network that is there already
xvectors    8: embeddings by a fold's network
embeddings  8: those of the embedder, fold by fold
"""
