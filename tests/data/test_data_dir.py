"""Where data sets are kept, and the command that brings one there."""

from pathlib import Path

from dml.data.data_dir import default_data_dir, fetch_command, not_fetched


def test_the_folder_is_the_users_unless_told(monkeypatch):
    monkeypatch.setenv("DML_DATA", "~/data")
    assert default_data_dir() == Path.home() / "data"
    monkeypatch.delenv("DML_DATA")
    assert default_data_dir() == Path.home() / ".cache" / "distributed_ml"


def test_the_command_names_the_folder_only_if_it_must(monkeypatch):
    monkeypatch.setenv("DML_DATA", "/data")
    assert fetch_command(["mnist"], Path("/data")) == "python src/experiments/fetch_data.py mnist"
    there = "python src/experiments/fetch_data.py mnist fmnist --data_dir /other"
    assert fetch_command(["mnist", "fmnist"], Path("/other")) == there
    assert str(not_fetched(["mnist", "fmnist"], Path("/other"))) == (
        f"dataset mnist fmnist: are not in /other; on a machine with a network, run: {there}"
    )
