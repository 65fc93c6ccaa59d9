"""The recipe of docs/kaldi.md runs as it stands, from recordings to the error rate."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise
from recipes.corpora.synthetic import stream

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kaldi.md"
RATE = 8000


def speak(folder, speakers, n_utterances):
    """Generated recordings of speakers by number, as a data directory; ids and speakers."""
    folder.mkdir()
    lines = []
    for number in speakers:
        voice = draw_speaker(stream(1, number))
        for session in range(n_utterances):
            key, rng = f"s{number:02}-{session}", stream(1, number, session)
            samples = synthesise(voice, draw_session(rng), 5.0, RATE, rng)
            soundfile.write(folder / f"{key}.wav", samples, RATE)
            lines.append((key, f"s{number:02}", folder / f"{key}.wav"))
    (folder / "wav.scp").write_text("".join(f"{key} {file}\n" for key, _, file in lines))
    (folder / "utt2spk").write_text("".join(f"{key} {who}\n" for key, who, _ in lines))
    speakers = sorted({who for _, who, _ in lines})
    spk2utt = [[who, *(key for key, other, _ in lines if other == who)] for who in speakers]
    (folder / "spk2utt").write_text("".join(" ".join(words) + "\n" for words in spk2utt))
    return [(key, who) for key, who, _ in lines]


@pytest.mark.slow
def test_the_recipe_runs(tmp_path):
    speak(tmp_path / "train", range(12), 5)
    known = speak(tmp_path / "eval", range(12, 17), 4)
    labels = {True: "target", False: "nontarget"}
    trials = [f"{a} {b} {labels[i == j]}\n" for a, i in known for b, j in known if a < b]
    (tmp_path / "trials").write_text("".join(trials))
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "mfcc.conf").write_text("--sample-frequency=8000\n--num-ceps=13\n--dither=0\n")
    (conf / "vad.conf").write_text("--vad-energy-threshold=5.5\n--vad-energy-mean-scale=0.5\n")
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "recipe.sh").write_text(script)
    small = {"gauss": "8", "gselect": "4", "rank": "12", "lda_dim": "6", "iters": "2", "thin": "2"}
    environment = {**os.environ, **small, "PYTHON": sys.executable}
    words = [str(tmp_path / name) for name in ("train", "eval", "trials", "exp", "conf")]
    done = subprocess.run(
        ["bash", str(tmp_path / "recipe.sh"), *words],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.splitlines()[-1]) < 40
    assert len((tmp_path / "exp/scores").read_text().splitlines()) == len(trials)
