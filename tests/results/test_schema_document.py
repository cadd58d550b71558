"""results/README.md names what result files hold, and nothing that they do not hold."""

import re
from pathlib import Path

import h5py
import pytest

from dml import config, experiment
from dml.results import load
from dml.results.record import SERIES, SINGLES
from dml.walks.figures import FIGURES

DOCUMENT = Path(__file__).parents[2] / "results/README.md"

RESERVED = {
    "cut",
    "deliverable/",
    "node0/",
    "walks/",
    "communication/server_bytes",
    "communication/control_bytes",
    "communication/hand_over_bytes",
    "event_log",
    "mixing_node",
    *FIGURES,
    "refused_models",
    "refused_headers",
    "communication/wire_bytes",
    "lossless",
    "lossy_because",
    "orchestrator",
    "plan_sha256",
    "visit_costs",
    "messages_from_nodes",
    "messages_to_nodes",
    "wire_from_nodes",
    "wire_to_nodes",
    "visits",
}
"""The names of schema 1 that need not be in a file yet; later versions fill them."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Small experiments that together write everything."""
    shared = {"rounds": 2, "threads": 1, "topology_file": "cycle:n=5"}
    experiments = [
        {"epochs": 1, "backdoor": True, "train_test_val": (0.6, 0.2, 0.2)},
        {"algorithm": "relaysgd", "failing_nodes": ("3@1",)},
        {"epochs": 1, "aggregation_strategy": "unweighted_fl"},
    ]
    folder = tmp_path_factory.mktemp("schema")
    return [experiment.run(config.make({**shared, "out_dir": folder, **flags})) for flags in experiments]


def section(title):
    """The text below a heading, up to the next one of any level."""
    text = DOCUMENT.read_text()
    assert f"\n## {title}\n" in text
    return re.split(r"^##+ ", text.split(f"\n## {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]


def named(title):
    """The names in the first column of the tables below a heading."""
    cells = [line.split("|")[1] for line in section(title).splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_attribute_of_the_file_is_named_and_every_named_one_is_written(files):
    written = set()
    for path in files:
        with h5py.File(path) as file:
            written |= set(file.attrs)
    assert named("Attributes of the file") == written


def test_every_dataset_is_named_and_every_named_one_is_written(files):
    written, of_groups = set(), set()

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            written.add(name)
        of_groups.update((name, attribute) for attribute in item.attrs)

    for path in files:
        with h5py.File(path) as file:
            file.visititems(visit)
    words = {word for pair in of_groups for word in pair}
    assert named("Datasets") == written | words


def test_every_field_of_a_segment_is_named(files):
    text = DOCUMENT.read_text().split("### Segments")[1]
    fields = {field for path in files for segment in load(path).segments for field in segment}
    assert {field for field in fields if f"`{field}`" not in text} == set()


def test_every_reserved_name_is_named():
    assert named("Reserved names") == RESERVED


def test_what_the_program_may_write_later_is_reserved_or_written():
    """The code knows no name of a number per measurement, or of a single model, that the document lacks."""
    known = named("Datasets") | RESERVED
    assert {f"metrics/{name}" for name in SERIES} <= known
    assert {name for name in SINGLES if not any(place.startswith(f"{name}/") for place in known)} == set()
