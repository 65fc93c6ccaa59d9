"""Log-mel store: the log-mel energies of a whole corpus, computed once, read by utterance.

``python -m ivector.features.store DATA OUT`` makes one from a data directory or a ``wav.scp``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ivector.base.cli import Parser, add_parallel_options
from ivector.commands import COMMANDS
from ivector.data import DataDir, read_data_dir, read_wav_scp
from ivector.features.store.reader import DEFAULT_PRESET, PRESET_HELP, PRESETS, LogMelStore
from ivector.features.store.writer import STORAGES


def make_parser() -> Parser:
    """Make the parser."""
    parser = Parser(
        prog="python -m ivector.features.store", description=COMMANDS["log-mel-store"].sentence
    )
    parser.add_argument("data", type=Path, help="data directory, or a wav.scp file")
    parser.add_argument("out", type=Path, help="folder of the store")
    parser.add_argument(
        "--preset",
        choices=tuple(PRESETS),
        default=DEFAULT_PRESET,
        help=PRESET_HELP,
    )
    parser.add_argument("--num-mel-bins", type=int, default=40, help="dimensions")
    parser.add_argument(
        "--sample-frequency", type=int, default=16000, help="Hz; recordings are resampled to it"
    )
    parser.add_argument(
        "--storage",
        choices=STORAGES,
        default="kaldi",
        help="kaldi: 1 byte a number, 12.6%% of the audio at 40 bins; float16: 2 bytes, 25%%, "
        "more exact, and crops are read without the rest; float32: 4 bytes",
    )
    add_parallel_options(parser)
    parser.add_argument("--strict", action="store_true", help="stop at the first bad recording")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Make a store."""
    if arguments.data.is_dir():
        data = read_data_dir(arguments.data)
    else:
        files = read_wav_scp(arguments.data)
        data = DataDir(files, {utt: utt for utt in files})
    options = {
        **PRESETS[arguments.preset],
        "num_mel_bins": arguments.num_mel_bins,
        "sample_frequency": arguments.sample_frequency,
    }
    store = LogMelStore.create(
        arguments.out, data.recordings(), options, arguments.storage, arguments.nj, arguments.strict
    )
    frames, n_bytes = store.metadata["frames"], store.metadata["bytes"]
    share = 100 * n_bytes / store.metadata["pcm_bytes"]
    print(
        f"{arguments.out}: {len(store)} utterances, {frames} frames of {store.n_dims}, "
        f"{n_bytes} bytes, {share:.1f} % of 16-bit audio"
    )
