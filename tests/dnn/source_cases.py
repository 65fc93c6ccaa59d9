"""Small utterances, and archives of them."""

import kaldiio
import numpy as np

RATE = 16000
KINDS = {"float": None, "speech": 2, "two bytes": 3, "one byte": 5}


def rng(seed=0):
    return np.random.default_rng(seed)


def utterances(n=5, n_features=7):
    return {
        f"u{i}": (3 * rng(i).standard_normal((20 + 9 * i, n_features))).astype(np.float32)
        for i in range(n)
    }


def write_archive(folder, arrays, compression=None):
    """An ark and its feats.scp, by kaldiio."""
    lines = []
    with open(folder / "feats.ark", "wb") as file:
        for key, array in arrays.items():
            file.write(key.encode() + b" ")
            lines.append(f"{key} {folder / 'feats.ark'}:{file.tell()}\n")
            kaldiio.save_mat(file, array, compression_method=compression)
    (folder / "feats.scp").write_text("".join(lines))
    return folder / "feats.scp"
