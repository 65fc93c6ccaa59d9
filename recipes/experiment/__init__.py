"""What the steps of an experiment share: who is trained and tested, features, vectors, scores.

protocol       what a fold trains on, enrols and tests
storage        how features are written
frames         features of a corpus, an utterance or a shard of frames at a time
corpus_source  what networks are trained on: voiced frames of the corpus
vectors        i-vectors and embeddings by utterance
backends       back-ends trained, kept in a folder and read back
cohort         recordings without labels beside the corpus's, for normalisation and adaptation
decisions      what was decided of adaptation, in words
trials         scores of a fold's trials, and their normalisation
"""
