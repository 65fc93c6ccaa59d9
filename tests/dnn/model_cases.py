"""Narrow networks with every kind of layer of the wide ones, and their input."""

# ruff: noqa: E402  (imports that need torch stand behind its check)

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


from dnn.models import build

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
