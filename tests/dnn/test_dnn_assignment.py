"""The report of an identification experiment: what it says of its numbers, and its pages."""

import json
import re

import numpy as np
import pytest

pytest.importorskip("torch")

from identification_cases import SMALL, fails, identify

from dnn.data.labelled import hold_out, open_labelled
from dnn.identification.assignment import analysis
from dnn.identification.assignment_pages import PICTURES, _n_axes, _new_axes, write_report
from dnn.identification.experiment import read_experiment, write_confusion
from dnn.identification.identifier import wilson_interval, worst_pairs
from dnn.identify import _open_training, make_parser
from ivector.base.errors import DataError

MACHINE = {"processor": "A processor", "cores": 4, "threads": 1, "torch": "2", "system": "Linux"}
NAMES = [f"S_{i}$<b>" for i in range(5)]


def measures(n_right, rate):
    """Results of 50 tests, ten of each of five speakers, of which so many are right."""
    right = np.full(5, n_right // 5) + (np.arange(5) < n_right % 5)
    matrix = np.diag(right)
    for i in range(5):
        matrix[i, (i + 1) % 5] = 10 - right[i]
    test = {
        "utterances": 50, "top1": n_right / 50, "top1_interval": wilson_interval(n_right, 50),
        "top5": 1.0, "top5_interval": [0.9, 1.0], "instances_per_s": rate,
        "by_speaker": {name: [int(r), 10] for name, r in zip(NAMES, right)},
        "worst_pairs": worst_pairs(matrix, NAMES),
    }  # fmt: skip
    return test, matrix


def write_network(folder, name, n_right, rate, held):
    options = {"model": name, "n_frames": 100, "batch_size": 8, "rate": 1e-3, "optimiser": "adamw"}
    test, matrix = measures(n_right, rate)
    speed = {
        "parameters": 2_000_000,
        "instances_per_s": rate / 4,
        "last_step": 40,
        "epochs": 4.0,
        "validated": 200,
    }
    records = [{"step": 10 * i, "loss": 2.0 / i, "training_accuracy": 0.2 * i} for i in range(1, 5)]
    records += [{"step": 10 * i, "validation_accuracy": h} for i, h in enumerate(held, 1)]
    (folder / "test").mkdir(parents=True)
    (folder / "network").mkdir()
    (folder / "network" / "config.json").write_text(json.dumps({"options": options}))
    (folder / "test" / "results.json").write_text(json.dumps(test))
    (folder / "speed.json").write_text(json.dumps({**speed, **MACHINE}))
    (folder / "scalars.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    write_confusion(folder / "test" / "confusion.csv", matrix, NAMES)


def write_trial(folder, n_right, **changed):
    base = {"model": "vgg-m", "batch_size": 8, "rate": 1e-3, "width": 1.0, "epochs": 6, **changed}
    record = {"identity": {"options": base}}
    if n_right is None:
        record["diverged"] = "at step 3"
    else:
        training = {"parameters": 2_000_000, "instances_per_s": 10.0 * base["batch_size"]}
        record |= {"test": measures(n_right, 5.0)[0], "training": training}
    name = "-".join(f"{v}" for v in base.values())
    (folder / name).mkdir(parents=True)
    (folder / name / "result.json").write_text(json.dumps(record))


@pytest.fixture
def experiment(tmp_path):
    folder = tmp_path / "exp"
    write_network(folder / "vgg-m", "vgg-m", 45, 80.0, (0.2, 0.3, 0.35, 0.3))
    write_network(folder / "xvector", "xvector", 20, 240.0, (0.2, 0.5, 0.58, 0.3))
    write_trial(folder / "sweep", 45)
    write_trial(folder / "sweep", 20, batch_size=32)
    write_trial(folder / "sweep", 44, width=0.5)
    write_trial(folder / "sweep", None, rate=1.0)
    return folder


def test_sentences_are_computed_from_the_numbers(experiment):
    text = "\n".join(analysis(read_experiment(experiment)))
    for words in (
        "VGG-M answers 90.0 % of the tests right, 4.5 times as many as guessing.",
        "x-vector (time delays) answers 50.0 points [35.9, 64.1] fewer right: more than chance.",
        "VGG-M was trained for 4 epochs; its held-out accuracy was highest, 35.0 %, after 3, when "
        "60.0 % of the training crops were right: it learns by heart, 25.0 points [12.1, 36.8]",
        "highest, 58.0 %, after 3, when 60.0 % of the training crops were right: 2.0 points "
        "[−10.8, 14.2] more, no more than chance, so that 200 held-out utterances show no",
        "has 1 times the parameters of VGG-M, trains 3 times and answers 3 times as fast.",
        "Batch size: best at 8 (90.0 %), worst at 32 (40.0 %): 50.0 points [35.9, 64.1], more than "
        "chance; from 8 to 32 "
        "training goes from 80 to 320 instances/s.",
        "Width: best at 1 (90.0 %), worst at 0.5 (88.0 %): 2.0 points [−3.6, 7.6], no more than",
        "Learning rate: 1 diverged. too few trainings to compare.",
        "VGG-M makes 5 mistakes, 1 of them by taking S_0$<b> for S_1$<b>; 0 of 5 speakers",
        "x-vector (time delays) makes 30 mistakes, 6 of them",
        "5 of 5 speakers are known in less than half",
    ):
        assert words in text, words


def test_of_few_held_out_utterances_a_gap_is_no_verdict(experiment):
    path = experiment / "vgg-m" / "speed.json"
    speed = json.loads(path.read_text())
    path.write_text(json.dumps({**speed, "validated": 12}))
    text = "\n".join(analysis(read_experiment(experiment)))
    assert "25.0 points [−3.2, 48.4] more, no more than chance, so that 12 held-out" in text
    records = (experiment / "vgg-m" / "scalars.jsonl").read_text()
    (experiment / "vgg-m" / "scalars.jsonl").write_text(records.replace("0.35}", "0.7}"))
    text = "\n".join(analysis(read_experiment(experiment)))
    assert "60.0 % of the training crops were right: no larger a share, so that 12" in text
    path.write_text(json.dumps({**speed, "validated": None}))  # as earlier trainings tell
    text = "\n".join(analysis(read_experiment(experiment)))
    assert "after 3, when 60.0 % of the training crops were right.\n" in text


def test_equal_shares_are_neither_best_nor_worst(experiment):
    write_trial(experiment / "sweep", 45, rate=2.0)
    text = "\n".join(analysis(read_experiment(experiment)))
    assert "Learning rate: 1 diverged. 90.0 % right whatever it is; from 0.001 to 2" in text


def test_there_are_three_pages_with_pictures_and_the_same_words(experiment, tmp_path):
    out = tmp_path / "report"
    write_report(experiment, out)
    pdf = (out / "report.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 3
    markdown, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "Each training lasted 6 epochs." in markdown and "lasted 6 epochs" in page
    for words in ("A processor; 4 cores, 1 used", "| VGG-M | 90.0 | 78.6 – 95.7 |", r"S_0\$\<b>"):
        assert words in markdown
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert len(pictures) == 3 == page.count("data:image/png;base64,")
    for picture in pictures:
        assert (out / picture).read_bytes()[:4] == b"\x89PNG"
    assert "S_0$&lt;b&gt;" in page and "S_0$<b>" not in page
    write_report(experiment, tmp_path / "again")
    assert (tmp_path / "again" / "report.pdf").read_bytes() == pdf


def test_no_legend_covers_a_curve(experiment):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    told = read_experiment(experiment)
    for _, draw, height in PICTURES:
        figure = Figure(figsize=(8.27, height + 1.4))
        axes = _new_axes(figure, height + 1.1, height, _n_axes(draw, told))
        draw(axes, told)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for legend in figure.legends:
            box = legend.get_window_extent(canvas.get_renderer())
            assert box.y0 >= 0
            assert not any(box.overlaps(a.get_tightbbox(canvas.get_renderer())) for a in axes)
    assert not any(a.get_legend() for a in axes)


def test_experiments_that_cannot_be_told_are_refused(experiment, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    message = fails(capsys, 1, "report", tmp_path / "none", *out)
    assert "holds no network with test/results.json" in message
    (experiment / "xvector" / "speed.json").write_text('{"epochs": 3}')
    message = fails(capsys, 1, "report", experiment, *out)
    assert (
        "xvector/speed.json: not a complete record (train and test it again): its param" in message
    )
    (experiment / "xvector" / "test" / "results.json").write_text("{")
    message = fails(capsys, 1, "report", experiment, *out)
    assert "xvector/test/results.json: not a record of an experiment in JSON, or damaged" in message
    test = json.loads((experiment / "vgg-m" / "test" / "results.json").read_text())
    test["by_speaker"]["S_0$<b>"][1] = 11
    (experiment / "xvector" / "test" / "results.json").write_text(json.dumps(test))
    (experiment / "xvector" / "speed.json").write_bytes(
        (experiment / "vgg-m" / "speed.json").read_bytes()
    )
    with pytest.raises(DataError, match="tested on different sets"):
        read_experiment(experiment)


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("vgg-m/test/results.json", lambda r: r.pop("by_speaker"), "its by_speaker is None"),
        ("vgg-m/test/results.json", lambda r: r.update(top1="all"), "its top1 is all"),
        ("vgg-m/test/results.json", lambda r: r.update(top1_interval=[0]), "record of a test"),
        ("vgg-m/test/results.json", lambda r: r["by_speaker"].update(x=[3, 2]), "record of a test"),
        ("vgg-m/test/results.json", lambda r: r["worst_pairs"][0].pop("speaker"), "its speaker"),
        ("vgg-m/speed.json", lambda r: r.update(instances_per_s=0), "instances_per_s is 0"),
        ("vgg-m/speed.json", lambda r: r.pop("processor"), "its processor is None"),
        ("vgg-m/network/config.json", lambda r: r.pop("options"), "its options is None"),
        ("vgg-m/network/config.json", lambda r: r["options"].pop("rate"), "its rate is None"),
        ("sweep/{}/result.json", lambda r: r.pop("identity"), "its identity is None"),
        ("sweep/{}/result.json", lambda r: r.pop("test"), "its test is None"),
        ("sweep/{}/result.json", lambda r: r["identity"]["options"].pop("width"), "its width"),
        ("sweep/{}/result.json", lambda r: r["training"].pop("parameters"), "its parameters"),
    ],
)
def test_records_that_are_incomplete_are_told_by_their_file(experiment, file, change, told):
    path = experiment / file.format("vgg-m-8-0.001-1.0-6")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(DataError) as caught:
        read_experiment(experiment)
    assert str(path) in str(caught.value) and told in str(caught.value)
    assert "again" in str(caught.value) and "\n" not in str(caught.value)


def test_the_end_of_a_training_is_not_told_by_its_test(mels, tmp_path, capsys):
    words = ["train", str(mels), "--held-out", "2", "--inner", "3", "--out", str(tmp_path / "n")]
    _, front_end, data, inner = _open_training(make_parser().parse_args(words))
    whole = open_labelled([mels], front_end)
    test = hold_out(whole, 2)[1]
    parts = [set(part.source.ids) for part in (data, inner, test)]
    assert [len(part) for part in parts] == [12, 12, 8] and len(set.union(*parts)) == 32
    options = ("--steps", 12, "--validations", 6, "--patience", 1, "--keep", "best", *SMALL)
    assert identify(*words, *options, "--lr", "1e-9") == 0
    speed = json.loads((tmp_path / "n" / "speed.json").read_text())
    assert speed["last_step"] < 12  # nothing is learnt at such a rate
    assert identify("test", tmp_path / "n", mels, "--held-out", 2, "--out",
                    tmp_path / "n" / "test") == 0  # fmt: skip
    write_report(tmp_path, tmp_path / "report")
    assert "Conformer" in (tmp_path / "report" / "report.md").read_text()
    message = fails(capsys, 2, "train", mels, "--inner", 1, "--validation", mels, *words[-2:])
    assert "not both" in message
