"""Steps of the stages: each connects the libraries for one thing that a stage makes.

A step is a module with ``jobs(run)``: a job for every fold of every system that has the step (see
`recipes.systems` for who has which, `recipes.engine.run` for the folders). In the order of stages:

corpus             0: data directories and trials
development        0: the training speakers cut into parts, to learn calibration from
features           1: MFCC and voice activity of all recordings
ubm                2: universal background models
total_variability  3: Baum-Welch statistics and total variability
ivectors           4: i-vectors
backend            5, of embeddings 8: centring, LDA, length normalisation, PLDA
scores             6, of embeddings 8: scores of vectors
gmm_ubm            6: MAP-adapted models and their scores
xvector            7: networks
embedder           7: embeddings of all recordings by a network that is there already
xvectors           8: embeddings
embeddings         8: those of the embedder, fold by fold
fusion             9: calibration and fusion
report             10: error rates, plots, a page
__main__           ``python -m recipes.steps STAGE``: runs the steps of a stage
"""
