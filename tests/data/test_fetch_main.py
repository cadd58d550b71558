"""fetch_data.py: what it does not fetch, and what it refuses."""

import pytest

from dml.data.fetch_main import KEPT, FetchConfig


def test_published_names_stand_for_their_data_sets():
    assert FetchConfig(names=("cifar10_vgg", "mnist")).names == ("cifar10", "mnist")
    assert KEPT == ["mnist", "fmnist", "cifar10", "cifar100"]


def test_what_comes_with_the_project_is_not_fetched(script, tmp_path):
    done = script("fetch_data.py", "digits", "tiny_mem", "--data_dir", "d")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "digits comes with distributed_ml\ntiny_mem comes with distributed_ml\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "NAME: name at least one (mnist, fmnist, cifar10, cifar100)"),
        (
            ["mnist", "imagenet"],
            "NAME imagenet: no such data set; choose from: mnist, fmnist, cifar10, cifar100",
        ),
        (["mnist", "fmnist", "--source", "x"], "--source x: holds one data set, so give one name"),
    ],
)
def test_wrong_input_is_refused_by_name(script, words, message):
    done = script("fetch_data.py", *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {message}\n")
