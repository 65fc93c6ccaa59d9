"""Who speaks, without a speaker list: counts that are at most, sparse lists, ids of corpora."""

import json
from pathlib import Path

import numpy as np
import pytest

from fusion.evaluate import main, make_parser
from fusion.formats import read_trials
from fusion.formats.corpus_ids import RULES
from fusion.formats.speakers import (
    linked_speakers,
    mapped_speakers,
    named_speakers,
    told_speakers,
)
from fusion.terminal import inputs
from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(pairs, name="trials"):
    """A list of (enrol, test, whether one speaker), read."""
    lines = [f"{one} {two} {'target' if same else 'nontarget'}\n" for one, two, same in pairs]
    Path(name).write_text("".join(lines))
    return read_trials(name)


def pair_list(n_speakers, n_each, n_targets, n_nontargets, seed=0, name="{0}x{1}"):
    """Random pairs of recordings, some of one speaker, some of two."""
    rng = np.random.default_rng(seed)
    pairs = {}
    for same, n in ((True, n_targets), (False, n_nontargets)):
        while n:
            one, two = rng.integers(n_speakers, size=2)
            two = one if same else two
            ids = sorted(rng.integers(n_each, size=2)) if same else rng.integers(n_each, size=2)
            key = name.format(one, ids[0]), name.format(two, ids[1])
            if (one == two) != same or key[0] == key[1] or key in pairs:
                continue
            pairs[key] = same
            n -= 1
    return written([(*key, same) for key, same in pairs.items()])


def test_all_against_all_is_counted():
    pairs = [(f"m{k}", f"u{s}{n}", k == s) for k in range(6) for s in range(6) for n in range(3)]
    found = linked_speakers(written(pairs))
    assert (found.n_speakers, found.at_most, found.trusted) == (6, False, True)
    assert found.count == "6 speakers"
    # Without one pair of speakers, these two may be one.
    found = linked_speakers(written([p for p in pairs if {p[0], p[1][:2]} not in (
        {"m0", "u1"}, {"m1", "u0"})]))  # fmt: skip
    assert found.at_most and found.count == "at most 6 speakers"


@pytest.mark.parametrize(("n_speakers", "n_each", "n_targets"), [(10, 20, 90), (40, 30, 500)])
@pytest.mark.parametrize("seed", range(5))
def test_sparse_pair_lists_are_recognised(n_speakers, n_each, n_targets, seed):
    found = linked_speakers(pair_list(n_speakers, n_each, n_targets, 3000, seed))
    assert found.n_speakers > 1.2 * n_speakers
    assert found.at_most and not found.trusted
    assert "are too narrow" in found.source and found.count.startswith("at most")


@pytest.mark.parametrize("seed", range(5))
def test_pair_lists_with_many_pairs_are_trusted(seed):
    """As VoxCeleb1-E: not every two speakers meet, but recordings of one are joined many times."""
    found = linked_speakers(pair_list(60, 12, 2400, 1200, seed))
    assert found.n_speakers == 60
    assert found.at_most and found.trusted
    dense = linked_speakers(pair_list(20, 12, 900, 5000, seed))
    assert not dense.at_most and dense.trusted


IDS = {
    "voxceleb": "id{0:05d}/5r0dWxy17C8/{1:05d}.wav",
    "tiny-voxceleb": "id{0:05d}/DYjmBHx5TlI/{1:05d}",
    "librispeech": "{0}-121123-{1:04d}",
    "nist": "{0}-sre18_{1}.sph",
}


@pytest.mark.parametrize("rule", RULES)
def test_ids_of_corpora_tell_the_speakers(rule):
    trials = pair_list(15, 8, 20, 100, name=IDS[rule])
    assert linked_speakers(trials).n_speakers > 15
    speaker = {name: IDS_OF[rule](name) for name in {*trials.enrol_ids, *trials.test_ids}}
    expected = mapped_speakers(trials, speaker)
    assert expected.n_speakers == 15
    for found in (named_speakers(trials, rule), told_speakers(trials)):
        assert found.n_speakers == 15 and found.trusted and not found.at_most
        for mine, theirs in ((found.enrol, expected.enrol), (found.test, expected.test)):
            assert len({*zip(mine, theirs)}) == len({*theirs})
    assert set(inputs.RULES) - {"auto", "trials"} == set(RULES)


IDS_OF = {
    "voxceleb": lambda name: name[:7],
    "tiny-voxceleb": lambda name: name[:7],
    "librispeech": lambda name: name.split("-")[0],
    "nist": lambda name: name.split("-")[0],
}


def test_models_by_the_names_of_speakers_keep_their_numbers():
    pairs = [(str(k), f"{s}-1-{n:04d}", k == s) for k in range(4) for s in range(4) for n in (0, 1)]
    trials = written(pairs)
    told, linked = told_speakers(trials), linked_speakers(trials)
    assert np.array_equal(told.enrol, linked.enrol) and np.array_equal(told.test, linked.test)
    assert told.source == "from the ids, as librispeech has them"


def test_ids_that_labels_contradict_are_not_believed():
    pairs = [("id00001/a/1", "id00001/a/2", True), ("id00001/a/1", "id00002/b/1", True),
             ("id00001/a/2", "id00003/b/1", False)]  # fmt: skip
    trials = written(pairs)
    assert told_speakers(trials).source.startswith("from the target trials")
    with pytest.raises(DataError, match="contradict the ids, as voxceleb has them"):
        named_speakers(trials, "voxceleb")
    with pytest.raises(DataError, match="'id00001/a/1' is no id as librispeech has them"):
        named_speakers(trials, "librispeech")
    with pytest.raises(UsageError, match="there are voxceleb"):
        named_speakers(trials, "voxforge")


def call(*arguments):
    return run(make_parser(), main, [str(a) for a in arguments])


def scored(trials):
    rng = np.random.default_rng(0)
    Path("scores").write_text("".join(
        f"{trials.enrol_ids[e]} {trials.test_ids[t]} {rng.normal(2.5 * label):.4f}\n"
        for e, t, label in zip(trials.enrol, trials.test, trials.labels)))  # fmt: skip


def test_the_command_says_what_it_counts(capsys):
    scored(pair_list(15, 8, 20, 100, name=IDS["librispeech"]))
    common = ("scores", "trials", "--bootstrap", 50, "--json", "o")
    assert call(*common) == 0
    assert "50 bootstrap replicates of 15 speakers (from the ids" in capsys.readouterr().out
    assert json.loads(Path("o").read_text())["bootstrap"]["trusted"] is True
    assert call(*common, "--speaker-ids", "trials") == 0
    out = capsys.readouterr().out
    assert "95 % intervals that cannot be trusted" in out and "replicates of at most" in out
    told = json.loads(Path("o").read_text())["bootstrap"]
    assert told["speakers_at_most"] is True and told["trusted"] is False
    Path("u").write_text("a b\n")
    assert call(*common, "--speaker-ids", "nist", "--utt2spk", "u") == 2
    assert "--speaker-ids: give it or --utt2spk" in capsys.readouterr().err


def test_recordings_that_a_map_lacks_are_counted_once():
    trials = written([("a", "b", True), ("b", "c", False), ("a", "c", False), ("c", "d", True)])
    with pytest.raises(DataError, match=r"3 of 4 ids of .*, first 'b'; add it to `utt2spk`"):
        mapped_speakers(trials, {"a": "x"})
