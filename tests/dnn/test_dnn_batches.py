"""Batches: a function of seed and step alone, balance, crops, short utterances, buckets."""

import logging
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnn.data.batches import CropBatches, length_buckets
from dnn.data.sources import ArraySource
from ivector.base.errors import DataError, UsageError

N_FEATURES = 3


def make(lengths, labels, **options):
    """Utterance i counts its frames in column 0 and says i in column 1."""
    arrays = []
    for i, length in enumerate(lengths):
        array = np.zeros((length, N_FEATURES), np.float32)
        array[:, 0], array[:, 1] = np.arange(length), i
        arrays.append(array)
    source = ArraySource([f"u{i}" for i in range(len(lengths))], arrays)
    return CropBatches(source, labels, **{"n_frames": 20, "batch_size": 8, **options})


def speakers(n_speakers, each):
    return np.repeat(np.arange(n_speakers), each)


def jitter(features, rng):
    return features + rng.standard_normal(features.shape, np.float32)


@pytest.mark.parametrize("per_speaker", [None, 2])
@pytest.mark.parametrize("augment", [None, jitter])
def test_a_step_is_the_same_whenever_asked_for(per_speaker, augment):
    def fresh():
        return make(
            range(10, 50), speakers(10, 4), n_frames=(15, 30), seed=3,
            utterances_per_speaker=per_speaker, augment=augment,
        )  # fmt: skip

    forwards = [fresh_step for batches in [fresh()] for fresh_step in map(batches.get, range(12))]
    batches = pickle.loads(pickle.dumps(fresh()))
    for step in (11, 0, 5, 4, 7):  # another process, another order, other epochs between
        for got, expected in zip(batches.get(step), forwards[step]):
            np.testing.assert_array_equal(got, expected)
    other = make(range(10, 50), speakers(10, 4), n_frames=(15, 30), seed=4)
    assert not np.array_equal(other.utterances(0), batches.utterances(0))


@pytest.mark.parametrize("augment", [None, jitter])
def test_rows_of_a_batch_can_be_had_alone(augment):
    batches = make([40] * 32, speakers(8, 4), augment=augment)
    whole, labels = batches.get(5)
    for rows in (slice(0, 4), slice(4, 8), slice(1, None, 3)):
        part, part_labels = batches.get(5, rows)
        np.testing.assert_array_equal(part, whole[rows])
        np.testing.assert_array_equal(part_labels, labels[rows])


def test_an_epoch_sees_every_utterance_once():
    batches = make([25] * 32, speakers(8, 4))
    assert len(batches) == 4
    epochs = [[batches.utterances(4 * e + s) for s in range(4)] for e in range(2)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(32))
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_fewer_utterances_than_a_batch_are_repeated():
    batches = make([25] * 3, [0, 1, 1])
    features, labels = batches.get(0)
    assert len(batches) == 1 and features.shape == (8, 20, N_FEATURES)
    assert np.bincount(batches.utterances(0), minlength=3).min() >= 2
    np.testing.assert_array_equal(labels, batches.labels[batches.utterances(0)])


def test_crops_are_consecutive_frames_and_reach_both_ends():
    batches = make([23] * 16, speakers(4, 4))
    firsts = set()
    for step in range(40):
        features, labels = batches.get(step)
        assert features.dtype == np.float32 and labels.dtype == np.int64
        for crop, utterance in zip(features, batches.utterances(step)):
            np.testing.assert_array_equal(crop[:, 0], crop[0, 0] + np.arange(20))
            assert (crop[:, 1] == utterance).all()
            firsts.add(int(crop[0, 0]))
    assert firsts == {0, 1, 2, 3}


def test_lengths_are_drawn_per_batch_from_the_range():
    batches = make([50] * 16, speakers(4, 4), n_frames=(15, 18))
    lengths = [batches.get(step)[0].shape[1] for step in range(40)]
    assert set(lengths) == {15, 16, 17, 18}
    assert lengths == [batches.crop_length(step) for step in range(40)]


def test_short_utterances_are_wrapped_around():
    batches = make([7] * 8, speakers(4, 2))
    features, _ = batches.get(0)
    for crop in features:
        np.testing.assert_array_equal(crop[:, 0], np.arange(20) % 7)


def test_augmentation_sees_the_crop_as_long_as_it_will_be():
    seen = []

    def note(features, rng):
        seen.append(features.shape)
        return features

    make([7] * 8, speakers(4, 2), augment=note).get(0)
    assert set(seen) == {(20, N_FEATURES)}


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(1, 9), min_size=4, max_size=12),
    per_speaker=st.integers(1, 4),
    n_speakers=st.integers(1, 4),
)
def test_balanced_batches(counts, per_speaker, n_speakers):
    labels = np.repeat(np.arange(len(counts)), counts)
    batches = make(
        [20] * len(labels), labels, batch_size=n_speakers * per_speaker,
        utterances_per_speaker=per_speaker,
    )  # fmt: skip
    for step in range(2 * len(batches)):
        utterances = batches.utterances(step).reshape(n_speakers, per_speaker)
        found = labels[utterances]
        assert (found == found[:, :1]).all()
        assert len(set(found[:, 0])) == n_speakers
        for row, label in zip(utterances, found[:, 0]):
            assert len(set(row)) == min(per_speaker, counts[label])  # none twice if there are more


def test_speakers_are_balanced_and_their_utterances_taken_in_turn():
    labels = np.repeat(np.arange(4), [2, 30, 4, 12])
    batches = make([20] * 48, labels, batch_size=4, utterances_per_speaker=2)
    order = np.concatenate([batches.utterances(step) for step in range(len(batches))])
    counts = np.bincount(labels[order])
    assert counts.max() - counts.min() <= 4
    assert np.ptp(np.bincount(order, minlength=48)[labels == 3]) <= 1


def test_a_speaker_of_one_utterance_is_said_once(caplog):
    with caplog.at_level(logging.WARNING):
        batches = make(
            [40, 40, 40], [0, 1, 1], batch_size=4, utterances_per_speaker=2, augment=None
        )
        for step in range(10):
            features, labels = batches.get(step)
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "1 of 2 speakers have fewer than 2 utterances"
    ]
    assert "u0" in caplog.text
    crops = features[labels == 0]
    assert len(crops) == 2 and not np.array_equal(crops[0], crops[1])  # other crops of the same


def test_numbers_that_are_not_finite_are_named():
    batches = make([20] * 8, speakers(4, 2))
    batches.source.arrays[5][3, 2] = np.nan
    with pytest.raises(DataError, match="u5: its features are NaN"):
        batches.get(0)


@pytest.mark.parametrize(
    ("lengths", "labels", "options", "error", "words"),
    [
        ([5] * 8, [0] * 7, {}, DataError, "7 labels for 8"),
        ([5] * 8, [0] * 7 + [-1], {}, DataError, "label -1"),
        ([5, 0, 0], [0, 1, 2], {}, DataError, "u1: has no frames"),
        ([5] * 8, [0] * 8, {"batch_size": 0}, UsageError, "batch_size=0"),
        ([5] * 8, [0] * 8, {"n_frames": (9, 8)}, UsageError, "n_frames"),
        ([5] * 8, [0] * 8, {"n_frames": 0}, UsageError, "n_frames"),
        ([5] * 8, [0] * 8, {"utterances_per_speaker": 3}, UsageError, "no multiple"),
        ([5] * 8, [0] * 8, {"utterances_per_speaker": 2}, DataError, "take a `batch_size` of 2"),
    ],
)
def test_bad_arguments_are_named(lengths, labels, options, error, words):
    with pytest.raises(error, match=words):
        make(lengths, labels, **options)


def test_steps_before_the_first_are_refused():
    with pytest.raises(UsageError, match="from 0"):
        make([20] * 8, [0] * 8).get(-1)


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 500), max_size=60),
    max_frames=st.integers(1, 2000),
    max_waste=st.floats(0, 0.5),
)
def test_buckets_hold_each_utterance_once_and_keep_their_limits(lengths, max_frames, max_waste):
    buckets = length_buckets(lengths, max_frames, max_waste)
    assert sorted(int(i) for bucket in buckets for i in bucket) == list(range(len(lengths)))
    for bucket in buckets:
        found = np.array(lengths)[bucket]
        assert len(bucket) == 1 or len(bucket) * found.max() <= max(max_frames, len(bucket))
        assert found.min() >= found.max() * (1 - max_waste) - 1e-9 or found.max() <= 1
    firsts = [lengths[bucket[0]] for bucket in buckets]
    assert firsts == sorted(firsts, reverse=True)


def test_buckets_refuse_what_makes_no_sense():
    with pytest.raises(UsageError, match="max_frames"):
        length_buckets([1], 0)
