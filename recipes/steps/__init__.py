"""Steps of the stages: each connects the libraries for one thing that a stage makes.

A step is a module with ``jobs(run)``: a job for every fold of every system that has the step (see
`recipes.systems` for who has which, `recipes.engine.run` for the folders). In the order of stages:

corpus             0: data directories and trials
development        0: the training speakers cut into parts, to learn calibration from
features           1: MFCC and voice activity of all recordings
domain             1: are the recordings on trial like those of training?
ubm                2: universal background models
total_variability  3: Baum-Welch statistics and total variability
ivectors           4: i-vectors
backend            5, of embeddings 8: centring, LDA, length normalisation, PLDA
adaptation         5, of embeddings 8: the back-ends adapted to ``--adapt``, if that is worth it
scores             6, of embeddings 8: scores of vectors
gmm_ubm            6: MAP-adapted models and their scores
networks           7 and 8: networks and embeddings
fusion             9: calibration and fusion
report             10: error rates, plots, a page
__main__           ``python -m recipes.steps STAGE``: runs the steps of a stage
"""
