"""What a type checker sees of the public names, in a program of a user's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARRAY = "ndarray[tuple[Any, ...], dtype[Any]]"
PROGRAM = """\
import dnn, fusion, ivector, plda
import numpy as np

x, speakers, samples = np.zeros((10, 3)), [0, 1] * 5, np.zeros(16000)
batch = ivector.BaumWelchStatistics(x, x)
"""
# An expression of the user's, and its type, without the modules of the names in it.
TYPES = {
    "ivector.__version__": "str",
    "ivector.MFCC()": "MFCC",
    "ivector.MFCC().transform(samples)": ARRAY,
    "ivector.LogMel().transform([samples])": f"list[{ARRAY}]",
    "ivector.EnergyVAD().fit(x).transform(x)": ARRAY,
    "ivector.SlidingCMVN().fit(x).transform(x)": ARRAY,
    "ivector.add_deltas(x)": ARRAY,
    "ivector.DiagonalGMM(2).fit(x)": "DiagonalGMM",
    "ivector.FullGMM(2).fit(x).score_samples(x)": ARRAY,
    "ivector.TotalVariability(2).fit(batch)": "TotalVariability",
    "ivector.TotalVariability(2).transform(batch)": ARRAY,
    "ivector.TotalVariability(2).transform(batch, return_cov=True)": f"tuple[{ARRAY}, {ARRAY}]",
    "plda.PLDA().fit(x, speakers)": "PLDA",
    "plda.PLDA().transform(x)": ARRAY,
    "plda.PLDA().score_matrix(x, x)": ARRAY,
    "plda.Center(per_class=True).fit(x, speakers).transform(x)": ARRAY,
    "plda.Whiten().fit(x).mean_": ARRAY,
    "plda.LDA(2).fit(x, speakers).transform(x)": ARRAY,
    "plda.WCCN().fit(x, speakers)": "WCCN",
    "plda.LengthNorm().transform(x)": ARRAY,
    "plda.cosine_scores(x, x)": ARRAY,
    "plda.ScoreNorm('s').fit(x, x).transform(x)": ARRAY,
    "plda.read_plda('plda')": "PLDA",
    "fusion.eer(x[0], x[1])": "float",
    "fusion.Calibration()": "Calibration",
    "fusion.Calibration('pav').fit(x[0], x[1]).transform(x[0])": ARRAY,
    "fusion.LinearFusion().fit(x, x[:, 0])": "LinearFusion",
    "fusion.read_scores('scores')": "Scores",
    "fusion.bootstrap_interval": "def",
    "dnn.build('ecapa')": "SpeakerNetwork",
    "dnn.load_network('folder')": "SpeakerNetwork",
    "dnn.Trainer.fit": "def",
}


def check(tmp_path: Path, text: str) -> str:
    """What mypy prints of a program in a folder of its own, as strict as it can be there."""
    program = tmp_path / "program.py"
    program.write_text(text, encoding="utf-8")
    options = ("--strict", "--follow-imports=silent", "--ignore-missing-imports", "--no-pretty")
    command = [sys.executable, "-m", "mypy", *options, "--config-file=", "--hide-error-context"]
    command += ["--cache-dir", ROOT / ".mypy_cache" / "user", "--no-error-summary", program.name]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={"MYPYPATH": str(ROOT), "PATH": "", "SYSTEMROOT": ""},
    )  # fmt: skip
    assert done.returncode < 2, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_type_checker_sees_the_public_names(tmp_path):
    lines = PROGRAM + "".join(f"reveal_type({expression})\n" for expression in TYPES)
    told = check(tmp_path, lines)
    assert "error" not in told, told
    seen = re.findall(r'Revealed type is "(.*)"', told)
    plain = [re.sub(r"\b(\w+\.)+(?=\w)", "", text) for text in seen]
    found = {e: t.split()[0] if TYPES[e] == "def" else t for e, t in zip(TYPES, plain)}
    assert found == TYPES


@pytest.mark.slow
def test_a_mistake_is_found(tmp_path):
    told = check(tmp_path, "import fusion\nfusion.eer([1.0], [0.0]).upper()\nfusion.eeer\n")
    assert '"float" has no attribute "upper"' in told
    assert 'Module has no attribute "eeer"' in told
