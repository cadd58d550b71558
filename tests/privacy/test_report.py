"""The report on privacy: what each mode gives away on digits, and what is refused."""

import re

import pytest
from scripts import ROOT

from dml.errors import InputError
from dml.privacy.main import parse, told

SMALL = ["--topology_file", "cycle:n=3", "--threads", "1"]
LINEAR = [*SMALL, "--model", "deep_linear"]


def report(folder, *words):
    chosen, given = parse([str(word) for word in words])
    return told(chosen, given | {"out_dir": folder})


def rows(text):
    """The numbers of the table, by mode: labels, inputs, labels of others from rows and from models."""
    table = text.split("\n\n")[1].splitlines()[2:]
    return {
        mode: words.replace(" %", "").split()
        for mode, words in (re.split(r" {2,}", line, maxsplit=1) for line in table)
    }


def test_the_orchestrator_recovers_labels_and_digits_and_no_row_tells_a_node_of_others(tmp_path):
    text = report(tmp_path, *LINEAR)
    assert text in (ROOT / "docs" / "traversal.md").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    found = rows(text)
    assert list(found) == ["grads", "cut=1", "cut=2", "cut=3", "legacy3"]
    for mode in ("cut=1", "cut=2", "cut=3", "legacy3"):
        assert found[mode][:3] == ["100", "100", "0"]
    assert 0 < int(found["grads"][0]) < 100
    assert int(found["grads"][1]) < 10
    # The model itself tells something, and as much in both modes: its steps are the same.
    assert found["legacy3"][3] == found["grads"][3] != "0"
    assert "first 3 virtual batches" in text.replace("\n", " ")
    answer = text.split("\n\n")[-1].replace("\n", " ")
    assert answer.startswith(
        "Answer: the orchestrator recovers all labels in cut=1, cut=2, cut=3 and legacy3, "
    )
    assert "recover none from rows" in answer


def test_the_published_broadcast_tells_every_node_all_labels(tmp_path):
    words = [*LINEAR, "--mode", "legacy3", "--batches", 1]
    assert rows(report(tmp_path, *words))["legacy3"] == ["100", "100", "0", "-"]
    text = report(tmp_path, *words, "--published_broadcast")
    assert rows(text)["legacy3 as published"] == ["100", "100", "100", "-"]
    assert "Answer: in legacy3 as published, the orchestrator recovers 100 % of" in text.replace("\n", " ")
    assert "Rows of all nodes tell the nodes 32 of 32 labels of others." in text.replace("\n  ", " ")


def test_relus_protect_no_input(tmp_path):
    text = report(tmp_path, *SMALL, "--labels", "at_node", "--momentum", 0.9)
    found = rows(text)
    assert found["cut=1"] == ["100", "100", "0", "-"]
    # A unit often passes a single sample.
    assert int(found["grads"][1]) > 20
    # Who does not know the momentum cannot tell the gradient from two models.
    assert found["grads"][3] == "-"
    assert "from models" not in text.partition("Answer")[2]


def test_a_node_with_one_sample_in_a_batch_sends_it(tmp_path):
    words = ["--topology_file", "complete:n=40", "--batch_size", 4, "--threads", 1, "--mode", "grads"]
    labels, inputs, *_ = rows(report(tmp_path, *words, "--model", "deep_linear"))["grads"]
    assert int(labels) > 90
    assert int(inputs) > 80
    # A sum over the nodes holds several samples, which linear layers mix.
    text = report(tmp_path, *words, "--model", "deep_linear", "--secure_aggregation")
    labels, inputs, *_ = rows(text)["grads"]
    assert 0 < int(labels) < 90
    assert inputs == "0"
    assert "the summed gradients" in text


def test_masked_gradients_do_not_protect_what_rows_tell(tmp_path):
    found = rows(report(tmp_path, *LINEAR, "--secure_aggregation", "--batches", 1))
    assert [found[mode][:2] for mode in ("cut=1", "cut=3", "legacy3")] == [["100", "100"]] * 3


def test_sums_give_away_what_a_relu_passes_alone(tmp_path):
    """The figure of docs/traversal.md."""
    words = ["--threads", "1", "--mode", "grads", "--secure_aggregation"]
    assert "single units of the first layer 5 of 48" in report(tmp_path, *words).replace("\n  ", " ")


@pytest.mark.parametrize(
    ("words", "told_so"),
    [
        (["--algorithm", "dpsgd"], "algorithm dpsgd: must be traversal in this report: leave it out"),
        (["--visits", "together"], "visits together: must be apart in this report: leave it out"),
        (["--out_dir", "x"], "out_dir x: has no effect: the report writes no file"),
        (["--batches", "0"], "batches 0: must be at least 1"),
        (["--batches", "500"], "batches 500: must be at most 90, the virtual batches of a pass"),
        (["--mode", "cut=9"], "mode cut=9: mlp has the cuts cut=1$"),
        (["--mode", "legacy3"], "mode legacy3: mlp is no perceptron of three linear layers"),
        (["--mode", "grads", "--labels", "at_node"], "labels at_node: has no effect"),
        (["--published_broadcast"], "published_broadcast: is for legacy3, and not for grads and cut=1"),
        (["--model", "cnn"], "model cnn: the attacks are on linear layers and ReLUs: give mlp, mnist_mlp or"),
        (["--model", "vgg11"], "model vgg11: "),
        (["--lr", "1e30"], r"lr 1e\+30: the model is no longer finite after virtual batch 1: give a smaller"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_line(tmp_path, words, told_so):
    with pytest.raises(InputError, match=told_so):
        report(tmp_path, *words)


def test_the_script_prints_the_report_and_writes_no_file(script, tmp_path):
    out = script("tl_privacy.py", *LINEAR, "--mode", "cut=2", "--batches", 1)
    assert out.returncode == 0, out.stderr
    assert list(rows(out.stdout)) == ["cut=2"]
    assert not list(tmp_path.iterdir())
