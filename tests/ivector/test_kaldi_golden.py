"""Commands of Kaldi's names give Kaldi's numbers: same options, same files."""

import subprocess
import sys

import numpy as np
import pytest
from kaldi_lines import LISTED, cases, differ

from ivector.base.kaldi_cli.running import run_program
from ivector.base.tables.holders import HOLDERS
from ivector.base.tables.reading import TableReader
from ivector.base.tables.writing import TableWriter
from ivector.kaldi.table import PROGRAM

# Differences of numbers up to 1, relative of others: Fourier transforms round otherwise, sums of
# thousands of frames are of float32 products, and files of text have seven digits.
LARGEST = {
    "compute-mfcc-feats": 4e-4,
    "compute-fbank-feats": 1e-4,
    "gmm-global-acc-stats": 1e-4,
    "fgmm-global-acc-stats": 1e-3,
    "fgmm-global-est": 3e-4,
    "ivector-extractor-acc-stats": 3e-5,
    "ivector-extractor-est": 6e-4,
}
# Random numbers; and selected Gaussians of which Kaldi's shortcut evaluates others, where five
# lie between two that are four apart (test_gmm_formats compares the other frames).
OTHERWISE = ("ivector-extractor-init-0.ie", "gmm-global-acc-stats-diag_acc_gselect5.txt")


@pytest.fixture
def at_golden(golden, monkeypatch):
    monkeypatch.chdir(golden)
    return golden


@pytest.mark.golden
@pytest.mark.parametrize(
    "case", [one for one in cases(PROGRAM) if str(one) not in OTHERWISE], ids=str
)
def test_same_command_same_numbers(case, at_golden, tmp_path):
    assert differ(case.run(PROGRAM, tmp_path), 1.0) < LARGEST.get(case.name, 1e-5)


@pytest.mark.golden
def test_there_are_cases_of_most_commands(golden):
    assert LISTED.is_file()
    without = {"extract-segments", "select-voiced-frames", "copy-vector", "copy-matrix"}
    without |= {"feat-to-len", "subsample-feats", "scale-post", "gmm-global-init-from-feats"}
    without |= {name for name in PROGRAM.commands if name.endswith("sum-accs")}
    assert PROGRAM.commands.keys() - {case.name for case in cases(PROGRAM)} == without


@pytest.mark.golden
def test_deltas_normalisation_and_voice_as_in_the_recipe(at_golden, tmp_path):
    """The three commands of Kaldi's line, through standard streams."""
    python = f"{sys.executable} -m ivector.kaldi"
    line = (
        f"{python} apply-cmvn-sliding --norm-vars=false --center=true --cmn-window=300 "
        f"ark:feat/deltas_w3.txt ark:- | {python} select-voiced-frames ark:- ark:feat/vad.txt "
        f"ark,t:- > {tmp_path}/voiced.txt"
    )
    subprocess.run(line, shell=True, check=True)
    ((_, ours),) = TableReader(f"ark:{tmp_path}/voiced.txt", HOLDERS["matrix"])
    ((_, kaldi),) = TableReader("ark:feat/final_voiced.txt", HOLDERS["matrix"])
    np.testing.assert_allclose(ours, kaldi, rtol=1e-5, atol=1e-5)


@pytest.mark.golden
def test_text_has_kaldis_bytes(at_golden, tmp_path):
    out = tmp_path / "mfcc.txt"
    run_program(PROGRAM, "copy-feats", ["ark:feat/mfcc.ark", f"ark,t:{out}"])
    assert out.read_bytes() == (at_golden / "feat/mfcc.txt").read_bytes()
    out = tmp_path / "mean.txt"
    run_program(PROGRAM, "copy-vector", ["--binary=false", "plda/mean_binary.vec", str(out)])
    assert out.read_bytes() == (at_golden / "plda/mean.txt").read_bytes()


@pytest.mark.golden
@pytest.mark.parametrize(
    ("file", "holder"),
    [
        ("ie/post.txt", "posteriors"),
        ("ubm/gselect_n5.txt", "selected"),
        ("plda/num_utts.txt", "int"),
    ],
)
def test_tables_pass_through_binary_and_back(at_golden, tmp_path, file, holder):
    copy(f"ark:{file}", f"ark:{tmp_path}/ark", holder)
    copy(f"ark:{tmp_path}/ark", f"ark,t:{tmp_path}/txt", holder)
    assert (tmp_path / "txt").read_bytes() == (at_golden / file).read_bytes()


@pytest.mark.golden
@pytest.mark.parametrize(
    ("file", "holder"),
    [("ie/post", "posteriors"), ("ubm/feats", "matrix"), ("ie/ivectors", "vector")],
)
def test_binary_tables_have_kaldis_bytes(at_golden, tmp_path, file, holder):
    copy(f"ark:{file}.ark", f"ark:{tmp_path}/ark", holder)
    assert (tmp_path / "ark").read_bytes() == (at_golden / f"{file}.ark").read_bytes()


def copy(source, target, holder):
    with TableWriter(target, HOLDERS[holder]) as writer:
        for key, value in TableReader(source, HOLDERS[holder]):
            writer.write(key, value)
