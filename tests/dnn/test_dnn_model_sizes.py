"""Sizes of the networks and of their layers, as published."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from model_cases import affine, batch, n_parameters, output_shapes

from dnn.losses.table import build_loss
from dnn.models import build


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
