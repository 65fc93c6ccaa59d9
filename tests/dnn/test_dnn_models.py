"""Speaker networks: published sizes, gradients, learning, padding, folding, misuse."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from torch import nn

from dnn.losses.table import build_loss
from dnn.models import MODELS, build, build_from_config
from dnn.models.attention import by_distance_to_by_frame, relative_positions
from dnn.models.folding import fold
from dnn.models.layers import FrameLinear, convolved_lengths
from dnn.models.pooling import (
    AttentiveStatisticsPooling,
    AveragePooling,
    SelfAttentivePooling,
    StatisticsPooling,
)
from ivector.base.errors import DataError, UsageError

# Narrow networks with every kind of layer of the wide ones, for what costs time.
SMALL = {
    "xvector": {"channels": (32, 32, 32, 32, 64), "embedding_dim": 32, "segment7_dim": 32},
    "xvector-small": {"n_features": 20, "channels": (32, 32, 32, 32, 64), "embedding_dim": 16},
    "ecapa": {"n_features": 20, "channels": 32, "aggregation_dim": 48, "embedding_dim": 24},
    "resnetse34l": {"n_blocks": (1, 1, 1, 1), "channels": (32, 32, 40, 40), "embedding_dim": 32},
    "vgg-m": {"n_features": 112, "width": 1 / 16, "embedding_dim": 32},
    "deep-speaker-rescnn": {"channels": (8, 16), "n_blocks": 1, "embedding_dim": 32},
    "deep-speaker-gru": {"channels": 8, "hidden_dim": 32, "embedding_dim": 32},
    "conformer": {"dim": 32, "n_blocks": 2, "kernel": 7, "dropout": 0.0, "embedding_dim": 32},
}
N_FRAMES = 72


def small(name):
    torch.manual_seed(3)
    return build(name, **SMALL[name])


def batch(model, n_utterances=4, n_frames=N_FRAMES):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(n_utterances, n_frames, model.n_features, generator=generator) * 2 + 1


def settled(model):
    """The model in evaluation mode, its norms having seen some data."""
    for _ in range(3):
        model(batch(model))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return model.eval()


def n_parameters(module):
    return sum(p.numel() for p in module.parameters())


def affine(n_in, n_out):
    return n_in * n_out + n_out


def output_shapes(model, features, names):
    shapes = {}
    modules = dict(model.named_modules())
    for name in names:
        modules[name].register_forward_hook(
            lambda _, __, output, name=name: shapes.__setitem__(name, tuple(output.shape[1:]))
        )
    with torch.no_grad():
        model.eval()(features)
    return [shapes[name] for name in names]


# Sizes as published


def test_xvector_has_kaldis_table():
    model = build("xvector", n_features=24)
    # Affine layers of egs/voxceleb/v2; Kaldi's batch norm has no parameters.
    frame = [affine(5 * 24, 512), affine(3 * 512, 512), affine(3 * 512, 512), affine(512, 512)]
    frame.append(affine(512, 1500))
    assert [n_parameters(layer) for layer in model.frame] == frame
    assert n_parameters(model.segment6) == affine(3000, 512)
    assert n_parameters(model.segment7) == affine(512, 512)
    # "4.2 million parameters" without segment7 and the output layer (Snyder et al. 2018).
    embedding_part = n_parameters(model) - n_parameters(model.segment7)
    assert embedding_part == 4_204_508 and round(embedding_part / 1e6, 1) == 4.2
    assert n_parameters(model) == 4_467_164
    shapes = output_shapes(model, batch(model, 2, 200), [f"frame.{i}" for i in range(5)])
    # Frames left of 200 by the contexts ±2, ±2, ±3, 0, 0.
    assert shapes == [(512, 1, 196), (512, 1, 192), (512, 1, 186), (512, 1, 186), (1500, 1, 186)]
    embedding = model(batch(model, 2, 200))
    assert embedding.shape == (2, 512) == (2, model.embedding_dim)
    assert model.head(embedding).shape == (2, 512) == (2, model.head_dim)
    assert model.min_frames == 15


def test_small_xvector_trains_on_its_embedding():
    model = build("xvector-small", n_features=30)
    assert n_parameters(model) < 1e6
    embedding = model(batch(model, 2))
    assert embedding.shape == (2, 128) and model.head_dim == 128
    assert model.head(embedding) is embedding


@pytest.mark.parametrize(("channels", "published"), [(512, 6.2), (1024, 14.7)])
def test_ecapa_has_the_papers_size(channels, published):
    model = build("ecapa", channels=channels)
    c, width = channels, channels // 8
    conv = affine(5 * 80, c) + 2 * c
    pointwise = affine(c, c) + 2 * c
    res2 = 7 * (affine(3 * width, width) + 2 * width)
    gates = affine(c, 128) + affine(128, c)
    block = 2 * pointwise + res2 + gates
    pooling = affine(3 * 1536, 128) + 128 * 1536
    embedding = 3072 + 3072 * 192 + 2 * 192
    assert [n_parameters(b) for b in model.blocks] == 3 * [block]
    assert n_parameters(model.pooling) == pooling
    assert n_parameters(model) == conv + 3 * block + affine(3 * c, 1536) + pooling + embedding
    assert round(n_parameters(model) / 1e6, 1) == published  # Desplanques et al. 2020, table 1
    if channels == 512:
        shapes = output_shapes(model, batch(model, 2), ["conv", "blocks.2", "aggregation"])
        assert shapes == [(512, 1, 72), (512, 1, 72), (1536, 1, 72)]
        assert model(batch(model, 2)).shape == (2, 192)


def test_resnetse34l_has_the_published_size():
    model = build("resnetse34l")
    total = 49 * 16 + 2 * 16
    n_in = 16
    for n_out, n_blocks in ((16, 3), (32, 4), (64, 6), (128, 3)):
        for i in range(n_blocks):
            total += 9 * n_in * n_out + 9 * n_out * n_out + 4 * n_out
            total += affine(n_out, n_out // 8) + affine(n_out // 8, n_out)
            if i == 0 and n_out != 16:
                total += n_in * n_out + 2 * n_out
            n_in = n_out
    total += affine(128, 128) + 128 + affine(128, 512)
    assert n_parameters(model) == total
    assert round(total / 1e6, 1) == 1.4  # "fast ResNet-34", Chung et al. 2020
    names = ["conv1", "blocks.2", "blocks.6", "blocks.12", "blocks.15"]
    shapes = output_shapes(model, batch(model, 2, 200), names)
    assert shapes == [(16, 200, 20), (16, 200, 20), (32, 100, 10), (64, 50, 5), (128, 50, 5)]
    assert model(batch(model, 2)).shape == (2, 512)


def test_vgg_m_has_the_papers_table():
    model = build("vgg-m")
    # Kernels with biases as in the table (Nagrani et al. 2017, table 4); the biases are the shifts
    # of the batch norms, whose scales come on top.
    layers = [affine(49, 96), affine(25 * 96, 256), affine(9 * 256, 384), affine(9 * 384, 256)]
    layers += [affine(9 * 256, 256), affine(9 * 256, 4096), affine(4096, 1024)]
    outputs = [96, 256, 384, 256, 256, 4096, 1024]
    modules = [*model.conv, model.fc6, model.fc7]
    assert [n_parameters(m) for m in modules] == [n + c for n, c in zip(layers, outputs)]
    names = ["conv.0", "conv.1", "conv.2", "conv.3", "conv.4", "fc6", "fc7"]
    shapes = output_shapes(model, batch(model, 2, 300), names)
    assert shapes[:2] == [(96, 148, 254), (256, 36, 62)]  # the table's 254×148 and 62×36
    assert shapes[2:5] == [(384, 17, 30), (256, 17, 30), (256, 17, 30)]
    assert shapes[5:] == [(4096, 8, 1), (1024, 1, 1)]
    fc8 = build_loss("softmax", model.embedding_dim, 1251)
    assert n_parameters(fc8) == affine(1024, 1251)
    assert fc8.logits(model(batch(model, 2, 300))).shape == (2, 1251)


# Figures of the tables of Li et al. 2017, in their rounding.
RESCNN = {64: ("6K", "41K"), 128: ("209K", "151K"), 256: ("823K", "594K"), 512: ("3.3M", "2.4M")}


def published(count, text):
    """Whether a table could print `count` as `text`, rounded or cut."""
    unit = {"K": 1e3, "M": 1e6}[text[-1]]
    decimals = len(text[:-1].partition(".")[2])
    step = unit / 10**decimals
    return abs(count - float(text[:-1]) * unit) < step


def test_deep_speaker_rescnn_has_the_papers_table():
    model = build("deep-speaker-rescnn")
    norm = 2 * 2048  # a scale and a shift for each of 64×32 = 128×16 = … = 2048
    n_in = 1
    for stage, (n_out, (shrink, residual)) in zip(model.stages, RESCNN.items()):
        assert n_parameters(stage.shrink) == 25 * n_in * n_out + norm
        assert published(n_parameters(stage.shrink), shrink)
        for conv in [*stage.first, *stage.second]:
            assert n_parameters(conv) == 9 * n_out * n_out + norm
            assert published(n_parameters(conv), residual)
        assert len(stage.first) + len(stage.second) == 6
        n_in = n_out
    assert n_parameters(model.affine) == affine(2048, 512)
    assert published(n_parameters(model), "24M")
    names = [f"stages.{i}" for i in range(4)]
    shapes = output_shapes(model, batch(model, 2, 160), names)
    assert shapes == [(64, 80, 32), (128, 40, 16), (256, 20, 8), (512, 10, 4)]
    embedding = model(batch(model, 2, 32))
    assert embedding.shape == (2, 512)
    np.testing.assert_allclose(embedding.norm(dim=1).detach(), 1, rtol=1e-5)


def test_deep_speaker_gru_has_the_papers_table():
    model = build("deep-speaker-gru")
    # A GRU's gate has an input matrix, a recurrent matrix and (in torch) two biases.
    gru = [3 * (n_in * 1024 + 1024 * 1024 + 2 * 1024) for n_in in (2048, 1024, 1024)]
    assert n_parameters(model.gru) == sum(gru)
    assert all(published(n, text) for n, text in zip(gru, ("9.4M", "6.3M", "6.3M")))
    assert published(n_parameters(model.conv), "6K")
    assert n_parameters(model.affine) == affine(1024, 512)
    assert published(n_parameters(model), "23M")
    shapes = output_shapes(model, batch(model, 2, 160), ["conv"])
    assert shapes == [(64, 80, 32)]
    assert model(batch(model, 2, 32)).shape == (2, 512)


def test_conformer_has_the_tables_size():
    model = build("conformer")
    d, k = 144, 31
    feed_forward = 2 * d + affine(d, 4 * d) + affine(4 * d, d)
    attention = 2 * d + 3 * d * d + d * d + 2 * d + affine(d, d)
    convolution = 2 * d + affine(d, 2 * d) + k * d + 2 * d + affine(d, d)
    block = 2 * feed_forward + attention + convolution + 2 * d
    assert block == 24 * d * d + (k + 28) * d
    assert [n_parameters(b) for b in model.blocks] == 6 * [block]
    assert n_parameters(model) == affine(40, d) + 6 * block + affine(d, d) + d + affine(d, 256)
    # The encoder of Conformer (S) has 16 such blocks of 10.3 M, the rest being the two
    # convolutions and the affine layer before them and the decoder (Gulati et al. 2020, table 1).
    assert 7.5e6 < 16 * block < 10.3e6
    shapes = output_shapes(model, batch(model, 2, 128), ["prenet", "blocks.5"])
    assert shapes == [(128, 144), (128, 144)]
    assert model(batch(model, 2, 128)).shape == (2, 256)
    am_softmax = build_loss("am-softmax", 256, 600)
    assert am_softmax.logits(model(batch(model, 2, 128))).shape == (2, 600)


# What all networks do


@pytest.mark.parametrize("name", MODELS)
def test_gradient_flows_to_every_parameter(name):
    model = small(name)
    loss = build_loss("aam-softmax", model.head_dim, 4)
    # Shifts as after some training: with those of the start the maximum over a pooling window is
    # always positive, the ReLU before it does nothing, and the next norm cancels the shift.
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.bias is not None:
                module.bias.normal_(-0.5, 1.5)
    loss(model.head(model(batch(model))), torch.arange(4)).backward()
    largest = max(p.grad.abs().max() for p in model.parameters())
    assert torch.isfinite(largest)
    for parameter, p in model.named_parameters():
        assert p.grad is not None, parameter
        # Far above the rounding that a parameter without influence would show.
        assert p.grad.abs().max() > 1e-5 * largest, parameter


@pytest.mark.parametrize("name", ["xvector", "ecapa", "resnetse34l", "conformer"])
def test_gradient_flows_in_the_published_size(name):
    torch.manual_seed(0)
    model = build(name)
    model.head(model(batch(model, 3, 40))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_ten_speakers_are_learnt_by_heart(name):
    model = small(name)
    loss = build_loss("aam-softmax", model.head_dim, 10)
    generator = torch.Generator().manual_seed(7)
    # A speaker is a spectral shape with a rate at which it swings, under noise.
    shape = torch.randn(10, 1, model.n_features, generator=generator)
    rate = 0.1 + 0.1 * torch.arange(10.0)[:, None, None]
    swing = torch.sin(rate * torch.arange(N_FRAMES)[:, None])
    labels = torch.arange(10).repeat_interleave(3)
    noise = torch.randn(30, N_FRAMES, model.n_features, generator=generator)
    features = (shape * (0.5 + swing))[labels] + 0.5 * noise
    optimiser = torch.optim.AdamW([*model.parameters(), *loss.parameters()], lr=5e-3)
    for _ in range(60):
        model.train()
        optimiser.zero_grad()
        loss(model.head(model(features)), labels).backward()
        optimiser.step()
        with torch.no_grad():
            answer = loss.logits(model.head(model.eval()(features))).argmax(1)
        if bool((answer == labels).all()):
            break
    assert (answer == labels).float().mean() == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name):
    model = settled(small(name))
    features = batch(model)
    least = model.min_frames
    lengths = torch.tensor([N_FRAMES, max(least, 41), max(least, 16), max(least, N_FRAMES - 1)])
    for i, length in enumerate(lengths):
        features[i, length:] = 1e3 * (i + 1)
    with torch.no_grad():
        together = model(features, lengths)
        alone = [model(features[i : i + 1, :n])[0] for i, n in enumerate(lengths)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        full = torch.full((4,), N_FRAMES)
        torch.testing.assert_close(model(features, full), model(features), rtol=0, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_folded_network_gives_the_same_embeddings(name):
    model = settled(small(name))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    folded = fold(model)
    lengths = torch.tensor([N_FRAMES, N_FRAMES - 3, N_FRAMES - 5, N_FRAMES])
    with torch.no_grad():
        for given in (None, lengths):
            torch.testing.assert_close(
                folded(batch(model), given), model(batch(model), given), rtol=1e-3, atol=1e-4
            )
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    if name.startswith("xvector"):
        assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


@pytest.mark.parametrize("name", MODELS)
def test_configuration_rebuilds_the_network(name):
    model = settled(small(name))
    config = json.loads(json.dumps(model.config()))
    again = build_from_config(config)
    assert again.config() == config
    assert list(again.state_dict()) == list(model.state_dict())
    again.load_state_dict(model.state_dict())
    again.eval()
    with torch.no_grad():
        assert torch.equal(again(batch(model)), model(batch(model)))


def test_same_seed_same_weights():
    first, second = (small("ecapa").state_dict() for _ in range(2))
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_channels_of_deltas():
    torch.manual_seed(1)
    model = build("deep-speaker-rescnn", n_features=96, in_channels=3, channels=(4, 4), n_blocks=1)
    features = batch(model, 2, 32)
    image = model._image(features, None)
    assert image.shape == (2, 3, 32, 32)
    assert torch.equal(image[:, 1], features[:, :, 32:64])
    assert model(features).shape == (2, 512)
    model.normalise = False
    assert not torch.allclose(model(features).norm(dim=1), torch.ones(2))


# Parts


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
    shifted = by_distance_to_by_frame(scores)
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


# Misuse


def test_unknown_names_and_options_are_told():
    with pytest.raises(UsageError, match="no model is called 'resnet'; there are conformer"):
        build("resnet")
    with pytest.raises(UsageError, match="no option 'widths'; it has n_features"):
        build("vgg-m", widths=2)
    with pytest.raises(UsageError, match="holds a name and options"):
        build_from_config({"model": "ecapa"})


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("xvector", {"channels": (512, 512)}, "channels are 5 numbers"),
        ("xvector", {"n_features": 0}, "n_features is a whole number"),
        ("ecapa", {"channels": 100}, "100 channels do not divide into 8 groups"),
        ("ecapa", {"dilations": ()}, "dilations"),
        ("resnetse34l", {"n_blocks": (1, 1)}, "4 numbers each"),
        ("vgg-m", {"n_features": 40}, "at least 97"),
        ("vgg-m", {"width": 0}, "above 0"),
        ("deep-speaker-gru", {"n_features": 64, "in_channels": 3}, "do not divide"),
        ("conformer", {"dim": 150}, "multiple of n_heads"),
        ("conformer", {"kernel": 8}, "odd"),
        ("conformer", {"dropout": 1.0}, "dropout"),
    ],
)
def test_options_that_make_no_network(name, options, text):
    with pytest.raises(UsageError, match=text):
        build(name, **options)


def test_features_that_do_not_fit():
    model = small("xvector").eval()
    with pytest.raises(DataError, match=r"takes \(batch, n_frames, 24\)"):
        model(torch.zeros(2, 30, 40))
    with pytest.raises(DataError, match="14 frames is too short for xvector, which needs 15"):
        model(torch.zeros(2, 14, 24))
    with pytest.raises(DataError, match="10 frames is too short"):
        model(torch.zeros(2, 30, 24), torch.tensor([30, 10]))
    with pytest.raises(DataError, match="31 frames in a batch of 30"):
        model(torch.zeros(2, 30, 24), torch.tensor([30, 31]))
    with pytest.raises(DataError, match="one number of frames for each"):
        model(torch.zeros(2, 30, 24), torch.tensor([30]))


@pytest.mark.parametrize("name", MODELS)
def test_shortest_utterance(name):
    model = small(name).eval()
    with torch.no_grad():
        assert torch.isfinite(model(batch(model, 2, model.min_frames))).all()
