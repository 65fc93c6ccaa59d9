"""Commands of Kaldi's names over i-vectors and PLDA give Kaldi's numbers."""

import pytest
from kaldi_lines import cases, content, differ

from ivector.base.kaldi_cli.declared import parse_form
from ivector.base.kaldi_cli.running import run_program
from plda.kaldi.table import PROGRAM

DENSE = "ivector-plda-scoring-dense"


@pytest.fixture
def at_golden(golden, monkeypatch):
    monkeypatch.chdir(golden)
    return golden


@pytest.mark.golden
@pytest.mark.parametrize("case", [one for one in cases(PROGRAM) if one.name != DENSE], ids=str)
def test_same_command_same_numbers(case, at_golden, tmp_path):
    assert differ(case.run(PROGRAM, tmp_path), 1.0) < 1e-6


@pytest.mark.golden
def test_there_are_cases_of_all_commands(golden):
    assert PROGRAM.commands.keys() - {case.name for case in cases(PROGRAM)} == {"compute-eer"}


@pytest.mark.golden
def test_recordings_that_determine_their_axes_score_as_kaldi(at_golden, tmp_path):
    """Of fewer vectors than the axes that Kaldi takes, it takes some as rounding has it."""
    (case,) = (one for one in cases(PROGRAM) if one.name == DENSE)
    ((ours, kaldi),) = case.run(PROGRAM, tmp_path)
    assert ours.keys() == kaldi.keys()
    for recording in ("s00", "s05"):
        assert ours[recording] == pytest.approx(kaldi[recording], abs=1e-6)


@pytest.mark.golden
def test_all_variance_is_no_projection(at_golden, tmp_path):
    """Then a recording's scores are those of its trials."""
    out = f"{tmp_path}/dense.txt"
    words = ["--target-energy=1", "plda/plda", "ark:ubm/spk2utt", "ark:plda/iv_centered_ln.txt"]
    run_program(PROGRAM, DENSE, [*words, f"ark,t:{out}"])
    (slot,) = parse_form("scores-wspecifier:matrix")
    lines = (at_golden / "plda/scores_utt.txt").read_text().split("\n")
    scores = {tuple(line.split()[:2]): float(line.split()[2]) for line in lines if line}
    matrix = content(tmp_path / "dense.txt", slot)["s03"]
    for i in (1, 2):
        for j in (1, 2):
            assert matrix[i - 1, j - 1] == pytest.approx(scores[f"s03_{i}", f"s03_{j}"], abs=1e-5)


@pytest.mark.golden
def test_the_error_rate_is_kaldis(at_golden, capsys):
    run_program(PROGRAM, "compute-eer", ["plda/scores_for_eer.txt"])
    assert capsys.readouterr().out == (at_golden / "plda/eer.txt").read_text()
