"""Recipes: programs that run the libraries stage by stage, from a corpus to a report.

The recipe of speaker verification, ``run.sh``:

systems              the tables of stages and of systems
engine               options, what is done already, jobs side by side, the console
steps                one module for each thing that a stage makes
experiment           what steps share: who is trained and tested, features, back-ends, scores
corpora              one module for each corpus: its folder becomes data directories and trials
cluster              SLURM, Kubernetes and Kubeflow

Commands of its own, ``python -m recipes.NAME``:

prepare              stage 0 alone: a corpus becomes data directories and trials
validate             every defect of a data directory or a prepared corpus
inner_folds          training speakers cut into folds, to choose options without the trials
select               the best options on such folds

The recipes of the other systems, ``voxsrc.sh``, ``tiny_voxceleb.sh``, ``deep_speaker.sh``,
``vggm_identification.sh`` and ``conformer_identification.sh``, use:

miniature            small generated data of exactly the original formats
train_embedding      networks of the verification systems
normalise_scores     cosine scores normalised by the training speakers
cut_speakers         a folder of speakers cut for closed-set identification
identify_classical   i-vectors and GMM-UBM on such a cut
identify_report      one table of all systems on it
"""

import ivector  # noqa: F401  # first, as it tells a Python that is too old
