"""Log-mel store: size and exactness on real speech, resuming, laziness, bad input."""

import json
import pickle
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile

from ivector.base.cli import run
from ivector.base.errors import DataError, UsageError
from ivector.base.files import read_lines
from ivector.commands.log_mel_store import main, make_parser
from ivector.features.audio import read_audio
from ivector.features.extractors import LogMel
from ivector.features.store import PRESETS, STORAGES, LogMelStore, writer

LARGEST_SHARE = 0.15
OPTIONS = {"sample_frequency": 8000, "num_mel_bins": 20, "low_freq": 60.0}


@pytest.fixture
def recordings(tmp_path):
    """Five recordings of noise, from 0.3 to 0.7 s; utterance e is a part of the last."""
    rng = np.random.default_rng(0)
    rows = []
    for i, utt in enumerate("abcd"):
        path = tmp_path / f"audio {utt}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(2400 + 800 * i), 8000)
        rows.append((utt, str(path), None, None))
    return [*rows, ("e", rows[-1][1], 0.1, 0.5)]


def compute(recording, options=OPTIONS):
    _, path, start, end = recording
    samples, _ = read_audio(path, sample_rate=options["sample_frequency"], start=start, end=end)
    return LogMel(**options).transform(samples)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("storage", "share", "rms"), [("kaldi", 0.15, 0.03), ("float16", 0.26, 3e-3)]
)
def test_size_and_exactness_on_speech(corpora, tmp_path, storage, share, rms):
    files = sorted((corpora / "speechocean762").rglob("*.flac"))[:40]
    rows = [(path.stem, str(path), None, None) for path in files]
    made = LogMelStore.create(tmp_path / "s", rows, storage=storage)
    n_samples = sum(soundfile.info(path).frames for path in files)
    size = sum(path.stat().st_size for path in (tmp_path / "s").iterdir())
    assert size <= share * 2 * n_samples
    assert made.n_dims == 40
    options = {"sample_frequency": 16000, **PRESETS["voxsrc"]}
    errors = [made[row[0]] - compute(row, options) for row in rows]
    assert np.sqrt(np.mean(np.concatenate(errors) ** 2)) < rms
    assert abs(np.mean(np.concatenate(errors))) < 1e-3


def test_share_of_16_bit_audio(tmp_path):
    """All files of a store of generated speech, 2 to 8 s each, against its samples."""
    from recipes.corpora.synthesis import draw_session, draw_speaker, synthesise

    rows, n_samples = [], 0
    for i in range(8):
        rng = np.random.default_rng(i)
        seconds = float(rng.uniform(2, 8))
        samples = synthesise(draw_speaker(rng), draw_session(rng), seconds, 16000, rng)
        soundfile.write(tmp_path / f"{i}.wav", samples, 16000)
        rows.append((f"u{i}", str(tmp_path / f"{i}.wav"), None, None))
        n_samples += len(samples)
    made = LogMelStore.create(tmp_path / "s", rows)
    assert made.n_dims == 40
    size = sum(path.stat().st_size for path in (tmp_path / "s").iterdir())
    assert 0.12 < size / (2 * n_samples) <= LARGEST_SHARE
    assert made.metadata["pcm_bytes"] == 2 * n_samples


@pytest.mark.parametrize(("storage", "tolerance"), [("kaldi", 0.1), ("float16", 0.01)])
def test_reads_back(recordings, tmp_path, storage, tolerance):
    LogMelStore.create(tmp_path / "s", recordings, OPTIONS, storage)
    made = LogMelStore.open(tmp_path / "s")
    assert list(made) == list("abcde")
    assert len(made) == 5
    assert "a" in made
    assert "z" not in made
    for recording in recordings:
        expected = compute(recording)
        actual = made[recording[0]]
        assert actual.dtype == np.float32
        assert made.n_frames(recording[0]) == len(expected)
        np.testing.assert_allclose(actual, expected, atol=tolerance)
        for part in (slice(3, 9), slice(20, None), slice(5, 5), slice(9, 3), slice(0, 10**6)):
            np.testing.assert_array_equal(
                made.read(recording[0], part.start, part.stop), actual[part]
            )
    with pytest.raises(KeyError):
        made["z"]
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again["b"], made["b"])


def test_records_how_it_was_made(recordings, tmp_path):
    made = LogMelStore.create(tmp_path / "s", recordings, OPTIONS)
    described = json.loads((tmp_path / "s" / "store.json").read_text())
    assert described == made.metadata
    assert described["options"] == OPTIONS
    assert described["frames"] == sum(made.n_frames(utt) for utt in made)
    assert described["bytes"] == sum(p.stat().st_size for p in (tmp_path / "s").glob("*.ark"))
    assert "numpy" in described["versions"]


def test_kaldi_reads_it(recordings, tmp_path):
    made = LogMelStore.create(tmp_path / "s", recordings, OPTIONS)
    loaded = dict(kaldiio.load_scp_sequential(str(tmp_path / "s" / "feats.scp")))
    assert sorted(loaded) == list(made)
    for utt in made:
        np.testing.assert_array_equal(loaded[utt], made[utt])


def test_may_be_moved(recordings, tmp_path):
    before = LogMelStore.create(tmp_path / "s", recordings, OPTIONS)["c"]
    shutil.move(tmp_path / "s", tmp_path / "elsewhere")
    np.testing.assert_array_equal(LogMelStore.open(tmp_path / "elsewhere")["c"], before)


@pytest.mark.parametrize("storage", STORAGES)
def test_files_do_not_depend_on_processes(recordings, tmp_path, monkeypatch, storage):
    monkeypatch.setattr(writer, "UTTERANCES_PER_SHARD", 2)
    monkeypatch.chdir(tmp_path)
    LogMelStore.create("s", recordings, OPTIONS, storage)
    one = contents(tmp_path / "s")
    shutil.rmtree("s")
    LogMelStore.create("s", recordings[::-1], OPTIONS, storage, nj=2)
    assert contents(tmp_path / "s") == one


def test_continues_after_being_killed(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "UTTERANCES_PER_SHARD", 2)
    LogMelStore.create(tmp_path / "s", recordings, OPTIONS)
    whole = contents(tmp_path / "s")
    # As a job killed in the last shard leaves it.
    for name in ("store.json", "logmel.2.json", "logmel.2.ark"):
        (tmp_path / "s" / name).unlink()
    read = []
    original = LogMel.transform
    monkeypatch.setattr(LogMel, "transform", lambda self, x: read.append(1) or original(self, x))
    with pytest.raises(DataError, match="no complete log-mel store"):
        LogMelStore.open(tmp_path / "s")
    LogMelStore.create(tmp_path / "s", recordings, OPTIONS)
    assert len(read) == 1
    assert contents(tmp_path / "s") == whole


def test_other_options_or_recordings_are_computed_again(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "UTTERANCES_PER_SHARD", 2)
    LogMelStore.create(tmp_path / "s", recordings, OPTIONS)
    made = LogMelStore.create(tmp_path / "s", recordings[:1], {**OPTIONS, "num_mel_bins": 10})
    assert made["a"].shape[1] == 10
    assert list(made) == ["a"]
    LogMelStore.create(tmp_path / "s", recordings[:3], OPTIONS, "float16")
    names = set(contents(tmp_path / "s"))
    assert names == {
        "logmel.0.f16", "logmel.0.json", "logmel.1.f16", "logmel.1.json", "index", "skipped",
        "store.json",
    }  # fmt: skip


def test_leaves_bad_recordings_out_and_says_so(recordings, tmp_path):
    bad = [*recordings, ("f", str(tmp_path / "none.wav"), None, None)]
    made = LogMelStore.create(tmp_path / "s", bad, OPTIONS)
    assert "f" not in made
    (line,) = read_lines(tmp_path / "s" / "skipped")
    assert line.startswith("f ")
    with pytest.raises(DataError, match=r"f: .*none\.wav"):
        LogMelStore.create(tmp_path / "t", bad, OPTIONS, strict=True)
    with pytest.raises(DataError, match="no recording could be used"):
        LogMelStore.create(tmp_path / "u", bad[-1:], OPTIONS)


def test_one_frame(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(200), 8000)
    row = ("a", str(path), None, None)
    for storage in STORAGES:
        made = LogMelStore.create(tmp_path / storage, [row], OPTIONS, storage)
        np.testing.assert_allclose(made["a"], compute(row), atol=0.05)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"storage": "flac"}, UsageError, "storage must be"),
        ({"options": {"num_mel": 3}}, UsageError, "num_mel"),
        ({"recordings": []}, DataError, "no recordings"),
        ({"recordings": [("a", "x", None, None)] * 2}, DataError, "two recordings have the id a"),
        ({"recordings": [("a b", "x", None, None)]}, DataError, "cannot be an id"),
    ],
)
def test_refuses(recordings, tmp_path, change, error, match):
    arguments = {"recordings": recordings, "options": OPTIONS, **change}
    with pytest.raises(error, match=match):
        LogMelStore.create(tmp_path / "s", **arguments)


def test_names_damage(recordings, tmp_path):
    folder = tmp_path / "s"
    for storage, name in (("kaldi", "logmel.0.ark"), ("float16", "logmel.0.f16")):
        made = LogMelStore.create(folder, recordings, OPTIONS, storage)
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-100])
        with pytest.raises(DataError, match=r"^e: "):
            made["e"]
        (folder / name).unlink()
        with pytest.raises(DataError, match=r"^a: "):
            made["a"]
    described = made.metadata
    (folder / "store.json").write_text(json.dumps({**described, "format": 99}))
    with pytest.raises(DataError, match="newer"):
        LogMelStore.open(folder)
    (folder / "store.json").write_text("[]")
    with pytest.raises(DataError, match="not the description"):
        LogMelStore.open(folder)
    (folder / "store.json").write_text(json.dumps(described))
    (folder / "index").write_text("a ../logmel.0.f16 0 3\n")
    with pytest.raises(DataError, match=r"index: names '\.\./logmel\.0\.f16', which is not a file"):
        LogMelStore.open(folder)
    (folder / "index").write_text("a logmel.0.f16 0 3\nb\n")
    with pytest.raises(DataError, match="index:2"):
        LogMelStore.open(folder)


def test_command_line(recordings, tmp_path, capsys):
    scp = tmp_path / "wav.scp"
    scp.write_text("".join(f"{utt} {path}\n" for utt, path, *_ in recordings[:3]))
    arguments = [str(scp), str(tmp_path / "s"), "--sample-frequency", "8000", "--preset", "kaldi"]
    assert run(make_parser(), main, [*arguments, "--num-mel-bins", "24"]) == 0
    assert "3 utterances" in capsys.readouterr().out
    made = LogMelStore.open(tmp_path / "s")
    assert made.n_dims == 24
    assert made.metadata["options"]["snip_edges"] is False
    (tmp_path / "wav.scp").write_text("a sox x |\n")
    assert run(make_parser(), main, arguments) == 1
    assert "pipes" in capsys.readouterr().err


def test_revision_is_that_of_the_checkout(tmp_path, monkeypatch):
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text("0123abcd\n")
    within = Path(writer.__file__).relative_to(Path(__file__).parents[2])
    monkeypatch.setattr(writer, "__file__", str(tmp_path / within))
    assert writer._revision() == "0123abcd"
