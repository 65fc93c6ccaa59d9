"""All networks: gradients, learning, padding, folding, misuse."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import json

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from model_cases import N_FRAMES, batch, settled, small
from torch import nn

from dnn.losses.table import build_loss
from dnn.models import MODELS, build, build_from_config
from dnn.models.folding import fold
from ivector.base.errors import DataError, UsageError


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
