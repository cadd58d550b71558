"""Sites: found by name or path, and every wrong input refused by name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from parsl import Config

from dml.errors import InputError
from dml.parallel.sites import Site, load_site, options_of

FOLDER = Path(__file__).parents[2] / "parsl_configs"


def test_the_local_site_is_closed_to_others_and_uses_the_cores_it_may(tmp_path: Path) -> None:
    config = load_site("local", FOLDER).config({}, tmp_path / ".parsl")
    assert isinstance(config, Config)
    assert config.run_dir == str(tmp_path / ".parsl")
    assert config.usage_tracking == 0
    (executor,) = config.executors
    assert executor.max_workers_per_node == len(os.sched_getaffinity(0))
    assert executor.encrypted
    assert executor.all_addresses == {"127.0.0.1"} == {executor.loopback_address}
    assert "export OMP_NUM_THREADS=1" in executor.provider.worker_init


def test_the_local_site_takes_more_workers_than_cores(tmp_path: Path) -> None:
    many = 8 * len(os.sched_getaffinity(0))
    (executor,) = load_site("local", FOLDER).config({"workers": str(many)}, tmp_path).executors
    assert executor.max_workers_per_node == many
    assert os.cpu_count() / executor.cores_per_worker >= many  # as Parsl's manager counts


def test_parsls_own_files_go_where_they_are_wanted(tmp_path: Path) -> None:
    with load_site("aurora", FOLDER).run_dir(tmp_path / "results") as run_dir:
        assert run_dir == tmp_path / "results"


def test_a_folder_that_parsls_scripts_cannot_read_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"out_dir .*my results: a folder without ' '"),
        load_site("aurora", FOLDER).run_dir(tmp_path / "my results"),
    ):
        pass


def test_on_one_host_parsls_files_go_where_its_scripts_can_read_them(tmp_path: Path) -> None:
    with load_site("local", FOLDER).run_dir(tmp_path / "my results") as run_dir:
        assert " " not in str(run_dir)
        (run_dir / "log").touch()
    assert not run_dir.exists()


@pytest.mark.parametrize("name", ["mars", "../parsl_configs/local", "absent.py", "README", ""])
def test_a_site_that_is_not_there_lists_those_that_are(name: str) -> None:
    with pytest.raises(
        InputError, match="the sites here are: aurora, local, pbs, polaris, slurm; or give a path"
    ) as error:
        load_site(name, FOLDER)
    assert error.value.field == "parsl_config"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("OPTIONS = {}", r"must define make_config\(options\)"),
        ("make_config = 3", r"must define make_config\(options\)"),
        (
            "import no_such_module",
            "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("def make_config(options:", "cannot be imported: SyntaxError"),
        ("OPTIONS = {'a': 'b'}\ndef make_config(options): ...", "OPTIONS must be a dict"),
        ("def make_config(options): return 3", "must return a parsl.Config, not int"),
        (
            "import parsl\ndef make_config(options): return parsl.Config(executors=[])",
            "HighThroughputExecutors",
        ),
        ("import parsl\ndef make_config(options): return parsl.Config()", "HighThroughputExecutors"),
        (
            "def make_config(options): raise OSError('no network')",
            "cannot be used on this machine: no network",
        ),
        ("def make_config(): ...", "TypeError: make_config.. takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_wrong_site_file_is_refused_with_its_reason(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        load_site(str(path), FOLDER).config({}, tmp_path)
    assert (error.value.field, error.value.value) == ("parsl_config", str(path))


def test_a_users_own_site_without_options(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from parsl import Config, HighThroughputExecutor\n"
        "def make_config(options): return Config([HighThroughputExecutor()], retries=len(options))"
    )
    site = load_site(str(path), FOLDER)
    assert site.config({}, tmp_path).retries == 0
    with pytest.raises(InputError, match=r"a=1: .*mine\.py takes: no options"):
        site.config({"a": "1"}, tmp_path)


def test_the_readmes_own_site_submits_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (FOLDER / "README.md").read_text()
    (tmp_path / "cluster.py").write_text(readme.partition("```python\n")[2].partition("```")[0])
    monkeypatch.setattr("parsl.addresses.address_by_interface", lambda interface: "10.0.0.1")
    site = load_site(str(tmp_path / "cluster.py"), FOLDER)
    (executor,) = site.config(options_of(site, ["jobs=4"]), tmp_path / ".parsl").executors
    assert (executor.address, executor.max_workers_per_node) == ("10.0.0.1", 4)
    assert (executor.provider.init_blocks, executor.provider.partition) == (4, "gpu")


def test_options_are_words_of_key_and_value() -> None:
    site = Site("mine", {"workers": ("1", ""), "worker_init": ("", "")}, make_config=dict)
    words = ["worker_init=export A=1", "workers=2"]
    assert options_of(site, words) == {"worker_init": "export A=1", "workers": "2"}
    assert options_of(site, words, workers=3) == options_of(site, words), "the longer form holds"
    assert options_of(site, [], workers=3) == {"workers": "3"}
    for wrong, right in (
        (["workers"], "key=value"),
        (["=2"], "key=value"),
        (["workers=1", "workers=2"], "given twice"),
        (["a=1"], "mine takes: workers, worker_init"),
    ):
        with pytest.raises(InputError, match=right) as error:
            options_of(site, wrong)
        assert error.value.field == "site_options"


def test_a_wrong_argument_is_answered_before_parsl_or_torch_is_imported() -> None:
    program = f"""
import sys
from pathlib import Path
import dml.parallel.watch
from dml.parallel.sites import load_site
for name, options in (("local", {{"workers": "0"}}), ("aurora", {{}}), ("polaris", {{"x": "1"}})):
    try:
        load_site(name, Path({str(FOLDER)!r})).config(options, Path("/tmp"))
    except ValueError:
        print(name, "parsl" in sys.modules, "torch" in sys.modules)
"""
    environment = {key: value for key, value in os.environ.items() if key != "PBS_NODEFILE"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "local False False\naurora False False\npolaris False False\n", done.stderr
