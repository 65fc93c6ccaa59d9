"""Parts of networks: poolings against NumPy, relative attention, masks."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from torch import nn

from dnn.models.attention import by_distance_to_by_frame, relative_positions
from dnn.models.layers import FrameLinear, convolved_lengths
from dnn.models.pooling import (
    AttentiveStatisticsPooling,
    AveragePooling,
    SelfAttentivePooling,
    StatisticsPooling,
)


@pytest.mark.parametrize("masked", [False, True])
def test_pooling_equals_numpy(masked):
    torch.manual_seed(2)
    frames = torch.randn(3, 11, 5, dtype=torch.float64) + 4
    lengths = [11, 4, 7] if masked else [11, 11, 11]
    mask = torch.arange(11) < torch.tensor(lengths)[:, None] if masked else None
    statistics = StatisticsPooling(5)(frames, mask)
    average = AveragePooling(5)(frames, mask)
    for i, n in enumerate(lengths):
        x = frames[i, :n].numpy()
        np.testing.assert_allclose(average[i], x.mean(0))
        np.testing.assert_allclose(statistics[i], np.concatenate([x.mean(0), x.std(0)]))


@pytest.mark.parametrize("masked", [False, True])
def test_attentive_pooling_equals_numpy(masked):
    torch.manual_seed(2)
    frames = torch.randn(3, 11, 5, dtype=torch.float64) + 1
    lengths = [11, 4, 7] if masked else [11, 11, 11]
    mask = torch.arange(11) < torch.tensor(lengths)[:, None] if masked else None
    single = SelfAttentivePooling(5, 6).double()
    context = AttentiveStatisticsPooling(5, 6).double()
    shared = AttentiveStatisticsPooling(5, 6, context=False, per_dimension=False).double()
    with torch.no_grad():
        outputs = [pooling(frames, mask).numpy() for pooling in (single, context, shared)]

    def hidden(layer, x):
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    def softmax(scores):
        weights = np.exp(scores - scores.max(0))
        return weights / weights.sum(0)

    def weighted(x, w):
        mean = (w * x).sum(0)
        return np.concatenate([mean, np.sqrt((w * (x - mean) ** 2).sum(0))])

    for i, n in enumerate(lengths):
        x = frames[i, :n].numpy()
        w = softmax(np.tanh(hidden(single.hidden, x)) @ single.context.detach().numpy())
        np.testing.assert_allclose(outputs[0][i], (w * x).sum(0))
        # ECAPA's equation as printed, on the concatenation of frame, mean and deviation.
        weight = np.hstack([m.weight.detach().numpy() for m in (context.hidden, context.context)])
        wide = np.hstack([x, np.tile(x.mean(0), (n, 1)), np.tile(x.std(0), (n, 1))])
        h = np.tanh(wide @ weight.T + context.hidden.bias.detach().numpy())
        w = softmax(h @ context.score.weight.detach().numpy().T)
        np.testing.assert_allclose(outputs[1][i], weighted(x, w))
        w = softmax(np.tanh(hidden(shared.hidden, x)) @ shared.score.weight.detach().numpy().T)
        np.testing.assert_allclose(outputs[2][i], weighted(x, w))


def test_constant_frames_give_finite_gradients():
    frames = torch.full((2, 20, 3), 1e3).requires_grad_()
    for pooling in (StatisticsPooling(3), AttentiveStatisticsPooling(3, 4)):
        output = pooling(frames)
        np.testing.assert_allclose(output[:, 3:].detach(), 1e-5, rtol=1e-3)  # root of the floor
        (gradient,) = torch.autograd.grad(output.sum(), frames)
        assert torch.isfinite(gradient).all()


def test_large_offset_does_not_cancel_the_deviation():
    frames = torch.randn(1, 500, 2, generator=torch.Generator().manual_seed(1)) + 3e3
    deviation = StatisticsPooling(2)(frames)[0, 2:]
    np.testing.assert_allclose(deviation, frames[0].double().std(0, correction=0), rtol=1e-3)


def test_relative_scores_are_read_by_distance():
    scores = torch.randn(2, 3, 6, 11)
    shifted = by_distance_to_by_frame(scores, 6)
    for i in range(6):
        for j in range(6):
            # Column c holds the distance (T − 1) − c, and frame j lies i − j behind frame i.
            assert torch.equal(shifted[:, :, i, j], scores[:, :, i, 5 - (i - j)])


def test_relative_positions_are_sinusoids_of_the_distance():
    positions = relative_positions(4, 6, torch.zeros(1))
    assert positions.shape == (7, 6)
    for row, distance in zip(positions, range(3, -4, -1)):
        for i in range(3):
            angle = distance / 10000 ** (2 * i / 6)
            np.testing.assert_allclose(row[2 * i], math.sin(angle), atol=1e-6)
            np.testing.assert_allclose(row[2 * i + 1], math.cos(angle), atol=1e-6)


def test_frame_linear_equals_linear():
    layer = FrameLinear(7, 5)
    frames = torch.randn(3, 9, 7)
    torch.testing.assert_close(
        layer(frames), nn.functional.linear(frames, layer.weight, layer.bias)
    )


@pytest.mark.parametrize("geometry", [(7, 2, 1), (3, 2, 1), (5, 2, 2), (3, 1, 1), (3, 2, 0)])
def test_lengths_follow_the_convolutions(geometry):
    kernel, stride, padding = geometry
    for n in range(8, 20):
        out = nn.functional.conv1d(
            torch.zeros(1, 1, n), torch.zeros(1, 1, kernel), None, stride, padding
        )
        assert int(convolved_lengths(torch.tensor([n]), *geometry)) == out.shape[2]
