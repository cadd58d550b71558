"""The command line: words become sections, every refusal has one form, and every end has its exit code."""

import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from scripts import ROOT, SCRIPTS, Script

from dml import command_line
from dml.errors import (
    ArgumentError,
    InputError,
)
from dml.field_types import Positional, UserPath
from dml.section import Section


class Options(Section):
    """One field of every kind."""

    files: Annotated[tuple[UserPath, ...], Positional("FILE")] = Field(description="files to read")
    count: int = Field(3, ge=1, description="how many, at most 50% of all")
    lr: float | None = Field(None, gt=-1, lt=1, description="a number")
    seeds: tuple[int, ...] = Field((0, 1), description="some numbers")
    kind: Literal["big", "small"] = Field("big", description="a word")
    fast: bool = Field(False, description="a switch")
    slow: bool = Field(True, description="another switch")
    out_dir: UserPath = Field(Path("results"), description="a folder")
    as_json: bool = Field(False, alias="json", description="a flag whose name pydantic reserves")


class Folder(Section):
    """One word without a flag."""

    folder: Annotated[UserPath, Positional("DIR")] = Field(description="the folder")


def parse(*words: str, section: type[Section] = Options) -> Any:
    return command_line.parse_section(section, words, prog="try.py", description="Tries words.")


def test_words_become_a_section() -> None:
    found = parse("a", "b", "--count", "7", "--lr", "-1e-3", "--seeds", "4", "--no_slow", "--json")
    assert found.files == (Path("a"), Path("b"))
    assert (found.count, found.lr, found.seeds, found.kind) == (7, -0.001, (4,), "big")
    assert (found.fast, found.slow, found.as_json) == (False, False, True)
    assert found.model_fields_set == {"files", "count", "lr", "seeds", "slow", "as_json"}
    assert parse("--fast", "x", section=Options).fast
    assert parse("x", section=Folder).folder == Path("x")


def test_words_and_flags_may_stand_in_any_order() -> None:
    assert parse("--count", "7", "a", "--fast", "b") == parse("a", "b", "--fast", "--count=7")
    assert (
        parse("a", "--no-slow", "--out-dir=~x").out_dir == parse("a", "--no_slow", "--out_dir", "~x").out_dir
    )


def test_the_experiments_published_switch_is_known() -> None:
    fields = [("", "random_data_placement", Field(True)), ("", "seed", Field(0))]
    fields[0][2].annotation, fields[1][2].annotation = bool, int
    given = command_line.parse(
        fields, ["--non-random-data-placement", "--seed", "-5"], prog="try.py", description=""
    )
    assert given == {"random_data_placement": False, "seed": "-5"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("a --count 0", "count 0: must be at least 1"),
        ("a --count x", "count x: must be a valid integer"),
        ("a --lr -3", "lr -3: must be above -1"),
        ("a --lr=1", "lr 1: must be below 1"),
        ("a --lr nan", "lr nan: must be a finite number"),
        ("a --seeds 1 two", "seeds two: must be a valid integer"),
        ("a --kind large", "kind large: must be 'big' or 'small'"),
        ("a --count", "count: needs a value"),
        ("a --seeds", "seeds: name at least one"),
        ("a --cuont 3", "cuont: there is no such flag (did you mean --count?); --help lists them"),
        ("a --cou 3", "cou: there is no such flag (did you mean --count?); --help lists them"),
        ("a --zzz=3", "zzz: there is no such flag; --help lists them"),
        ("a --fast=1", "fast: takes no value"),
    ],
)
def test_a_wrong_flag_is_refused_by_name(words: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(*words.split())
    assert str(refused.value) == message
    assert not isinstance(refused.value, ArgumentError)


@pytest.mark.parametrize(
    ("words", "section", "message"),
    [
        ("", Options, "FILE: name at least one (files to read)"),
        ("--count 3", Options, "FILE: name at least one (files to read)"),
        ("", Folder, "DIR: is missing (the folder)"),
        ("a b", Folder, "b: does not belong to a flag; --help lists the flags"),
        ("a -b", Folder, "-b: does not belong to a flag; --help lists the flags"),
    ],
)
def test_a_word_without_a_flag_is_refused_as_one(words: str, section: type[Section], message: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        parse(*words.split(), section=section)
    assert str(refused.value) == message


def test_the_help_says_what_each_word_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: try.py [-h] [OPTIONS] FILE [FILE ...]\n\nTries words.")
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert {
        "FILE files to read",
        "--count INT how many, at most 50% of all (default: 3)",
        "--lr FLOAT a number",
        "--seeds INT [INT ...] some numbers (default: 0 1)",
        "--kind big|small a word (default: big)",
        "--fast, --no_fast a switch (default: False)",
        "--out_dir PATH a folder (default: results)",
    } <= lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("caf\udce9", r"caf\udce9"),
        ("\t", r"\t"),
        ("déjà 日本", "déjà 日本"),
        ("9" * 5000, "9" * 199 + " ..."),
    ],
)
def test_an_error_is_one_line_whatever_the_value_holds(value: str, shown: str) -> None:
    assert str(InputError("lr", value, "must be a number")) == f"lr {shown}: must be a number"
    cut = shown if len(value) < 400 else "9" * 400 + " ..."
    assert str(InputError("lr", None, f"not {value}")) == f"lr: not {cut}"


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_each_script_runs_by_its_path_and_its_help_names_the_flags(process: Script, name: str):
    called = process(name, "--help")
    assert called.returncode == 0
    assert "usage: " + name in called.stdout
    if name in ("decentralized_main.py", "bd_scheduler.py"):
        assert all(
            f"--{flag}" in called.stdout for flag in ("rounds", "lr", "softmax_coeff", "checkpoint_every")
        )


def test_compile_results_of_no_folder_is_refused(script: Script, tmp_path: Path):
    assert script("compile_results.py", tmp_path / "nothing").returncode == 2
    assert script("compile_results.py", tmp_path).returncode == 1


def test_nothing_of_the_project_names_its_makers_workshop():
    """Paths and tools of the machine that it is built on mean nothing to its users."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    words = ["/" + "work/", ".." + "/shared"]
    for name in tracked.split():
        text = (ROOT / name).read_bytes().decode(errors="replace")
        assert not [word for word in words if word in text], name
