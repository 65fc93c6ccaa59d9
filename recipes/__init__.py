"""Recipes: programs that run the libraries stage by stage, from a corpus to a report.

The recipe of speaker verification, ``run.sh``:

systems              the tables of stages and of systems
engine               options, what is done already, jobs side by side, the console
steps                one module for each thing that a stage makes
experiment           what steps share: who is trained and tested, features, back-ends, scores
corpora              one module for each corpus: its folder becomes data directories and trials
cluster              SLURM, Kubernetes and Kubeflow

Commands of its own, ``python -m recipes.NAME``, and what lists them:

program              the program ``ivector-plda``: every command of the toolkit, and the recipes
commands             the table of these commands; the recipes by name
__main__             ``python -m recipes``: lists both, or runs one

prepare              turn a corpus into data directories and trials, as stage 0
validate             name every defect of a data directory or a prepared corpus
inner_folds          cut training speakers into folds, to choose options without the trials
select               try options on inner folds, and print the best first

The recipes of the other systems, ``voxsrc.sh``, ``tiny_voxceleb.sh``, ``deep_speaker.sh``,
``vggm_identification.sh`` and ``conformer_identification.sh``, use:

miniature            generate a small corpus in the layout of a real one
train_embedding      train a network of the verification systems; resumes where it was stopped
normalise_scores     cosine scores normalised by the training speakers
submit               submissions to tiny-voxceleb, of every system and of their fusion
cut_speakers         cut a folder of speakers for closed-set identification
identify_classical   i-vectors and GMM-UBM on a closed set
identify_report      one table of all systems on a closed set
"""

import ivector  # noqa: F401  # first, as it tells a Python that is too old
