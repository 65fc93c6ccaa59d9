"""The lines of Kaldi's that made the reference outputs, as cases of our commands of these names."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ivector.base.kaldi import KaldiReader
from ivector.base.kaldi_cli.declared import FILE_OUT, WRITE, Program, Slot
from ivector.base.kaldi_cli.parsing import parse
from ivector.base.kaldi_cli.running import run_program
from ivector.base.tables.holders import HOLDERS
from ivector.base.tables.reading import TableReader
from ivector.base.tables.specifiers import parse_wspecifier
from ivector.formats.accumulators import read_extractor_accumulators, read_gmm_accumulators
from ivector.formats.extractor import read_extractor
from ivector.formats.gmm import read_gmm

LISTED = Path(__file__).resolve().parents[2] / "shared" / "golden" / "commands.txt"
# Files that the lines left out of the reference, by those of the same content.
SAME = {
    "fgmm-global-to-gmm ubm/0.ubm.txt - |": "ubm/1.dubm.txt",
    "work/gsel.ark": "ubm/final_gselect_n8.txt",
    "work/facc.0.txt": "ubm/full_acc_0.txt",
    "work/0.ie": "ie/0.ie",
    "feat/deltas_w3.ark": "feat/deltas_w3.txt",
    "work/1.ie": "ie/1.ie",
    "work/acc.0": "ie/acc_0.txt",
}


@dataclass(frozen=True)
class Case:
    """One command: its name, words before and behind its output, and the reference's file of it."""

    name: str
    words: tuple[str, ...]
    outputs: tuple[tuple[int, Slot, str, str], ...]  # word, place, what is before the file, file

    def __str__(self):
        return f"{self.name}-{Path(self.outputs[0][3]).name}"

    def run(self, program: Program, folder: Path) -> list[tuple[dict, dict]]:
        """Run it in the reference's folder; pairs of what was written and what should be."""
        words, pairs = list(self.words), []
        for at, slot, head, file in self.outputs:
            written = folder / Path(file).name
            words[at] = f"{head}{written}"
            pairs.append((written, LISTED.parent / file, slot))
        run_program(program, self.name, words)
        return [(content(written, slot), content(wanted, slot)) for written, wanted, slot in pairs]


def cases(program: Program) -> list[Case]:
    """Lines of which input and output are in the reference."""
    if not LISTED.is_file():
        return []
    found = []
    for line in LISTED.read_text().splitlines():
        name, *words = shlex.split(line.partition("&&")[0])
        if name not in program.commands or "|" in words or ">" in words:
            continue
        words = [replaced(word) for word in words]
        _, files = parse(program.commands[name], words)
        outputs = []
        for at, (slot, file) in enumerate(files, len(words) - len(files)):
            if slot.kind == WRITE:
                name_of = parse_wspecifier(file).archive
                outputs.append((at, slot, file.removesuffix(name_of), name_of))
            elif slot.kind == FILE_OUT:
                outputs.append((at, slot, "", file))
        case = Case(name, tuple(words), tuple(outputs))
        if all((LISTED.parent / file).is_file() for *_, file in outputs) and is_there(case):
            found.append(case)
    return found


def replaced(word: str) -> str:
    """A word that names a file of the same content."""
    for left_out, kept in SAME.items():
        word = word.replace(left_out, kept)
    return word


def is_there(case: Case) -> bool:
    """Whether the reference has what a case reads."""
    return not any("work/" in word for word in case.words)


def content(path: Path, slot: Slot) -> dict[str, np.ndarray]:
    """Arrays of a table by id, or of a file by their names; words of a text count as names."""
    if slot.kind == WRITE:
        return {
            key: _dense(value) if isinstance(value, tuple) else np.asarray(value)
            for key, value in TableReader(f"ark:{path}", HOLDERS[slot.holder])
        }
    if slot.name in FILES:
        return FILES[slot.name](path)
    if slot.name == "model-wxfilename":
        return _extractor(path) if b"<IvectorExtractor>" in path.read_bytes()[:30] else _gmm(path)
    if slot.name == "stats-wxfilename":
        extractor = b"<IvectorExtractorStats>" in path.read_bytes()[:30]
        return vars((read_extractor_accumulators if extractor else read_gmm_accumulators)(path))
    words, numbers = [], []
    for word in path.read_text().split():
        try:
            numbers.append(float(word))
        except ValueError:
            words.append(word)
    return {" ".join(words): np.array(numbers)}


def _lda(path):
    return {"lda": upright(KaldiReader(path).matrix())}


def _plda(path):
    reader = KaldiReader(path)
    reader.expect("<Plda>")
    mean, transform, psi = reader.vector(), reader.matrix(), reader.vector()
    return {"mean": mean, "transform": upright(transform), "psi": psi}


def _dense(posteriors):
    """Posteriors (T, most Gaussians), whatever their order in a frame."""
    table = np.zeros((len(posteriors.posts), 64))
    frames = np.arange(len(table))[:, None]
    np.add.at(table, (frames, posteriors.indices), posteriors.posts)
    return table


def _gmm(path):
    weights, means, covariances = read_gmm(path).parameters()
    return {"weights": weights, "means": means, "covariances": covariances}


def _extractor(path):
    """What does not depend on how i-vectors are turned, which without a diagonal is arbitrary."""
    model = read_extractor(path).subspace()
    projection = model.projection
    return {
        "weights": model.weights, "means": projection[:, :, 0], "offset": np.array(model.offset),
        "within": projection @ projection.transpose(0, 2, 1), "precision": model.precision,
    }  # fmt: skip


def upright(rows: np.ndarray) -> np.ndarray:
    """Rows that are defined up to sign, with their greatest number positive."""
    largest = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], axis=1)
    return rows * np.sign(largest)


FILES = {
    "lda-wxfilename": _lda,
    "plda-wxfilename": _plda,
    "mean-wxfilename": lambda path: {"mean": KaldiReader(path).vector()},
}


def differ(pairs: list[tuple[dict, dict]], atol: float) -> float:
    """Largest relative difference of what was written from what should be, up to `atol`."""
    worst = 0.0
    for written, wanted in pairs:
        assert written.keys() == wanted.keys()
        for key, should in wanted.items():
            should = np.asarray(should, float)
            is_ = np.asarray(written[key], float)
            assert is_.shape == should.shape, key
            off = np.abs(is_ - should) / (atol + np.abs(should))
            worst = max(worst, float(off.max(initial=0.0)))
    return worst
