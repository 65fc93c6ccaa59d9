"""Training losses against plain NumPy, their gradients against differences, schedules, misuse."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from dnn.losses.classification import (
    AamSoftmax,
    AmSoftmax,
    MarginSchedule,
    Softmax,
)
from dnn.losses.metric import AngularPrototypical, Ge2e, Triplet, by_speaker
from dnn.losses.table import CLASSIFIERS, LOSSES, build_loss, build_loss_from_config
from ivector.base.errors import DataError, UsageError

N_DIMS, N_CLASSES = 6, 5


def sample(n=12, labels=None, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_CLASSES, n) if labels is None else np.asarray(labels)
    return rng.standard_normal((len(labels), N_DIMS)), labels


def value(loss, embedding, labels):
    return loss.double()(torch.tensor(embedding), torch.tensor(labels)).item()


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def cross_entropy(logits, labels):
    total = [np.log(np.sum(np.exp(row))) - row[y] for row, y in zip(logits, labels)]
    return np.mean(total)


# Against plain NumPy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax(smoothing):
    embedding, labels = sample()
    loss = Softmax(N_DIMS, N_CLASSES, label_smoothing=smoothing).double()
    logits = embedding @ loss.output.weight.detach().numpy().T + loss.output.bias.detach().numpy()
    even = np.mean([cross_entropy(logits, np.full(len(labels), k)) for k in range(N_CLASSES)])
    expected = (1 - smoothing) * cross_entropy(logits, labels) + smoothing * even
    np.testing.assert_allclose(value(loss, embedding, labels), expected)


def test_am_softmax():
    embedding, labels = sample()
    loss = AmSoftmax(N_DIMS, N_CLASSES, margin=0.35, scale=20).double()
    cosines = unit(embedding) @ unit(loss.weight.detach().numpy()).T
    np.testing.assert_allclose(loss.logits(torch.tensor(embedding)).detach(), 20 * cosines)
    cosines[np.arange(len(labels)), labels] -= np.float32(0.35)
    np.testing.assert_allclose(value(loss, embedding, labels), cross_entropy(20 * cosines, labels))


@pytest.mark.parametrize("easy_margin", [False, True])
@pytest.mark.parametrize("margin", [0.2, 0.8])
def test_aam_softmax(margin, easy_margin):
    embedding, labels = sample(200)
    loss = AamSoftmax(N_DIMS, N_CLASSES, margin, 15, easy_margin).double()
    cosines = unit(embedding) @ unit(loss.weight.detach().numpy()).T
    branches = set()
    for row, y in zip(cosines, labels):
        angle = np.arccos(row[y])
        if easy_margin:
            branches.add(bool(angle < np.pi / 2))
            row[y] = np.cos(angle + margin) if angle < np.pi / 2 else row[y]
        else:
            branches.add(bool(angle < np.pi - margin))
            beyond = row[y] - margin * np.sin(margin)
            row[y] = np.cos(angle + margin) if angle < np.pi - margin else beyond
    assert branches == {True, False} or margin == 0.2
    expected = cross_entropy(15 * cosines, labels)
    np.testing.assert_allclose(value(loss, embedding, labels), expected, rtol=1e-6)


def test_aam_softmax_falls_with_the_angle_everywhere():
    loss = AamSoftmax(2, 2, margin=0.5).double()
    angle = torch.linspace(0, np.pi, 1000, dtype=torch.float64)
    moved = loss.with_margin(angle.cos())
    assert (moved.diff() < 0).all() and (moved <= angle.cos() + 1e-12).all()


def test_margin_zero_is_softmax_of_cosines():
    embedding, labels = sample()
    torch.manual_seed(1)
    am = AmSoftmax(N_DIMS, N_CLASSES, margin=0.0)
    aam = AamSoftmax(N_DIMS, N_CLASSES, margin=0.0)
    aam.weight = am.weight
    np.testing.assert_allclose(value(am, embedding, labels), value(aam, embedding, labels))


def triplets(embedding, labels, margin, mining):
    """One negative for each ordered pair of a speaker, written out."""
    s = unit(embedding) @ unit(embedding).T
    total = []
    for a in range(len(labels)):
        negatives = s[a][labels != labels[a]]
        for p in np.flatnonzero(labels == labels[a]):
            if p == a:
                continue
            below = negatives[negatives < s[a, p]]
            semi_hard = below.max() if len(below) else negatives.min()
            chosen = negatives.max() if mining == "hard" else semi_hard
            total.append(max(0.0, chosen - s[a, p] + margin))
    return np.mean(total)


@pytest.mark.parametrize("mining", ["semi-hard", "hard"])
@pytest.mark.parametrize("seed", range(5))
def test_triplet(mining, seed):
    embedding, labels = sample(20, seed=seed)
    if seed == 4:  # positives far below all negatives: the fallback
        embedding[labels == 0] *= np.where(np.arange((labels == 0).sum()) % 2, 1, -1)[:, None]
    loss = Triplet(margin=0.1, mining=mining)
    expected = triplets(embedding, labels, 0.1, mining)
    np.testing.assert_allclose(value(loss, embedding, labels), expected)


def test_triplet_of_three_by_hand():
    embedding = np.array([[1.0, 0, 0], [0.8, 0.6, 0], [0.6, 0, 0.8]])
    # s(a, p) = 0.8; s(a, n) = 0.6 and s(p, n) = 0.48: both below 0.8 − 0.1.
    assert value(Triplet(0.1), embedding, [0, 0, 1]) == 0.0
    np.testing.assert_allclose(value(Triplet(0.3), embedding, [0, 0, 1]), 0.1 / 2)


def test_angular_prototypical():
    embedding, labels = sample(labels=[3, 1, 4, 1, 3, 4, 4, 3, 1])
    loss = AngularPrototypical(initial_scale=7, initial_bias=-2)
    speakers = [embedding[labels == k] for k in (1, 3, 4)]
    query = unit(np.stack([x[0] for x in speakers]))
    prototype = unit(np.stack([x[1:].mean(0) for x in speakers]))
    expected = cross_entropy(7 * query @ prototype.T - 2, np.arange(3))
    np.testing.assert_allclose(value(loss, embedding, labels), expected)


@pytest.mark.parametrize("method", ["softmax", "contrast"])
def test_ge2e(method):
    embedding, labels = sample(labels=[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
    x = unit(embedding).reshape(4, 3, N_DIMS)
    total = []
    for j in range(4):
        for i in range(3):
            s = np.empty(4)
            for k in range(4):
                others = [x[k, m] for m in range(3) if k != j or m != i]
                s[k] = 10 * x[j, i] @ unit(np.mean(others, 0)) - 5
            if method == "softmax":
                total.append(-s[j] + np.log(np.exp(s).sum()))
            else:
                sigmoid = 1 / (1 + np.exp(-s))
                total.append(1 - sigmoid[j] + np.delete(sigmoid, j).max())
    np.testing.assert_allclose(value(Ge2e(method), embedding, labels), np.mean(total))


# Gradients


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_equals_differences(name):
    torch.manual_seed(0)
    embedding, labels = sample(labels=[0, 0, 1, 1, 2, 2])
    loss = build_loss(name, N_DIMS, N_CLASSES).double()
    x = torch.tensor(embedding, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: loss(e, torch.tensor(labels)), x)
    loss(x, torch.tensor(labels)).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in loss.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_is_finite_where_embeddings_coincide(name):
    loss = build_loss(name, N_DIMS, 2)
    x = torch.ones(4, N_DIMS, requires_grad=True)
    if name in ("am-softmax", "aam-softmax"):
        loss.weight.data[0] = 3.0  # cosine 1 with all embeddings
    loss(x, torch.tensor([0, 0, 1, 1])).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_short_types_are_computed_in_float32(name):
    torch.manual_seed(0)
    embedding, labels = sample(labels=[0, 0, 1, 1, 2, 2])
    loss = build_loss(name, N_DIMS, N_CLASSES)
    short = torch.tensor(embedding).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(short, torch.tensor(labels))
    assert mixed.dtype == torch.float32
    assert mixed.item() == loss(short.float(), torch.tensor(labels)).item()


# Margins and configurations


def test_margin_schedule():
    schedule = MarginSchedule(0.2, start=100, end=300, initial=0.1)
    assert [schedule(s) for s in (0, 100, 300, 10**6)] == [0.1, 0.1, 0.2, 0.2]
    np.testing.assert_allclose(schedule(150), 0.125)
    curve = [MarginSchedule(0.2, 100, 300, shape="exponential")(s) for s in range(99, 302)]
    assert curve[0] == 0 and curve[-1] == 0.2 and (np.diff(curve) >= 0).all()
    assert curve[51] > 0.2 / 4 + 0.05  # ahead of the straight line
    assert MarginSchedule(0.3, 5, 5)(5) == 0.3 and MarginSchedule(0.3, 5, 5)(4) == 0.0


def test_margin_is_kept_with_the_state():
    embedding, labels = sample()
    loss = AamSoftmax(N_DIMS, N_CLASSES, margin=0.2)
    MarginSchedule(0.4, 10, 20).apply(loss, 15)
    np.testing.assert_allclose(float(loss.current_margin), 0.2)
    MarginSchedule(0.4, 10, 20).apply(loss, 20)
    again = build_loss_from_config(json.loads(json.dumps(loss.config())))
    assert again.margin == 0.2 and again.config() == loss.config()
    again.load_state_dict(loss.state_dict())
    np.testing.assert_allclose(float(again.current_margin), 0.4)
    np.testing.assert_allclose(value(again, embedding, labels), value(loss, embedding, labels))
    MarginSchedule(0.4, 10, 20).apply(Triplet(), 20)  # no margin to schedule: nothing


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_name(name):
    loss = build_loss(name, N_DIMS, N_CLASSES)
    assert loss.name == name
    assert build_loss_from_config(loss.config()).config() == loss.config()
    if name in CLASSIFIERS:
        assert loss.logits(torch.zeros(2, N_DIMS)).shape == (2, N_CLASSES)


# Misuse


def test_batches_that_cannot_be_compared():
    embedding = torch.randn(4, N_DIMS)
    for labels in ([0, 1, 2, 3], [0, 0, 0, 0]):
        with pytest.raises(DataError, match="triplets need a batch"):
            Triplet()(embedding, torch.tensor(labels))
        for loss in (AngularPrototypical(), Ge2e()):
            with pytest.raises(DataError, match="equally many utterances"):
                loss(embedding, torch.tensor(labels))
    with pytest.raises(DataError, match="2 speakers of 1 to 3 utterances"):
        by_speaker(embedding, torch.tensor([0, 0, 0, 1]))


def test_options_that_make_no_loss():
    with pytest.raises(UsageError, match="no loss is called 'arcface'"):
        build_loss("arcface", 2, 2)
    with pytest.raises(UsageError, match="has no option 'scale'"):
        build_loss("triplet", 2, 2, scale=3)
    for name, options in (
        ("am-softmax", {"margin": -1}),
        ("aam-softmax", {"scale": 0}),
        ("softmax", {"label_smoothing": 1}),
        ("triplet", {"mining": "easy"}),
        ("ge2e", {"method": "max"}),
        ("angular-prototypical", {"initial_scale": 0}),
    ):
        with pytest.raises(UsageError):
            build_loss(name, 2, 2, **options)
    with pytest.raises(UsageError, match="from 20 to 10"):
        MarginSchedule(0.2, 20, 10)
    with pytest.raises(UsageError, match="'cosine'"):
        MarginSchedule(0.2, 10, 20, shape="cosine")
