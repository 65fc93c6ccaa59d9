"""Corpora: each module turns a corpus folder into data directories and trial lists.

Every module ``recipes.corpora.NAME`` has ``add_options(parser)`` and
``prepare(corpus_dir, out_dir, **options)``; ``python -m recipes.prepare NAME`` calls them.
They all leave the same layout::

    out/wav/                 Kaldi data directory of every utterance, once: features are computed
        wav.scp utt2spk      once, whatever the folds (paths are absolute);
        spk2utt              spk2gender where the corpus tells
    out/fold0/               one or more folds, counted from 0; of each, all scores are pooled
        train.utt2spk        all that anything is trained on: "utt speaker"
        enroll               "enrol-id utt [utt ...]"
        trials               "enrol-id utt target|nontarget"
        trials-NAME          further lists over the same training data and enrolments, if any
                             ("enrol-id utt" alone where the truth is not known)
    out/done.json            written last: stamps of options, code, recordings and lists; all files

No speaker of ``trials`` is in ``train.utt2spk``, and no label contradicts the speakers; both are
checked before anything is written. Everything is sorted (``LC_ALL=C``); the same folder gives the
same files. The modules:

synthetic        the embedded default, generated
synthesis        the voices, sessions and sentences that it is generated from
folder           your own recordings, a sub-folder per speaker
hyke             Hyke, telephone digits
librispeech      LibriSpeech, which it can fetch
tiny_voxceleb    the challenge's folders and tar shards
voxceleb1        VoxCeleb1 with its official trial lists
voxceleb2        VoxCeleb2 to train on, VoxCeleb1 to test
voxsrc_features  the same from published features, without recordings
voxceleb         what they have in common
common           recordings, folds and trials, and how two folds are made
layout           checks a corpus and writes the layout
download         fetching files, resumed and checked
"""

NAMES = (
    "synthetic",
    "folder",
    "hyke",
    "librispeech",
    "tiny_voxceleb",
    "voxceleb1",
    "voxceleb2",
)
# Prepared alike, of features instead of recordings; ``run.sh`` computes its own.
STORED = ("voxsrc_features",)
