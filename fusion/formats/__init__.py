"""Score files and trial lists of many kinds, told apart by what is in them.

tables       Scores and trial lists as compact arrays.
files        Score files and trial lists: read as compact arrays, matched by trial, written as same
             bytes.
parsing      Score files and trial lists as arrays: lines to cells, ids to numbers, scores and
             labels parsed.
records      Text files of records: read in blocks, ids made numbers, lines remembered, in little
             memory.
layouts      Which delimiter and which columns a score file or a trial list has, told from its
             content.
headers      Tables with a header line: which delimiter they have, and which column is what, by its
             name.
hdf5         Scores and keys as matrices in HDF5, the files of BOSARIS and SIDEKIT (and hyperion,
             PyBOSARIS).
measures     Measures and conditions beside the scores: durations, genders, SNRs, from tables with
             a header.
known_lists  Published trial lists, known by their numbers of trials and by the MD5 sum of their
             files.
systems      Scores of the same trials by several systems, side by side; NaN where a system has
             none.
speakers     Which speaker each side of a trial is of: what the bootstrap draws, instead of trials.
linting      What may be wrong with score files and trial lists: all of it, by file and line.
kernels      Kernels that split, number and parse the lines of score files, 2 MiB at a time.
"""

from ivector.base.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "HDF5_SUFFIXES": "fusion.formats.files",
        "SCORE_COLUMNS": "fusion.formats.tables",
        "ScoredTrials": "fusion.formats.tables",
        "Scores": "fusion.formats.tables",
        "Trials": "fusion.formats.tables",
        "TARGET": "fusion.formats.layouts",
        "NONTARGET": "fusion.formats.layouts",
        "UNKNOWN": "fusion.formats.layouts",
        "align": "fusion.formats.files",
        "read_scores": "fusion.formats.files",
        "read_trials": "fusion.formats.files",
        "same_order": "fusion.formats.files",
        "write_scores": "fusion.formats.files",
        "write_trial_scores": "fusion.formats.files",
    },
)
