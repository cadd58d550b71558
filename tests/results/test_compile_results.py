"""The script that makes a table of a folder, as a user calls it."""


def test_a_link_to_nothing_is_named_and_the_rest_tabulated(script, made_up, tmp_path):
    made_up()
    (tmp_path / "x.h5").symlink_to(tmp_path / "nowhere.h5")
    called = script("compile_results.py", tmp_path)
    assert called.returncode == 1
    assert called.stderr.splitlines() == [f"error: {tmp_path}/x.h5 is not there (any more, or it is a link)"]
    assert "unweighted" in called.stdout
    assert (tmp_path / "summary.csv").exists()


def test_a_summary_that_cannot_be_replaced_leaves_nothing_beside(script, made_up, tmp_path):
    made_up()
    for name in ("summary.csv", "summary.h5", "ood_auc.png"):
        (tmp_path / name).mkdir()
        called = script("compile_results.py", tmp_path)
        assert called.returncode == 1
        assert "Traceback" not in called.stderr
        assert name in called.stderr
        assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]
        (tmp_path / name).rmdir()


def test_the_table_of_methods_is_the_last_above_the_paths(script, made_up, tmp_path):
    for algorithm in ("dpsgd", "relaysgd"):
        made_up(None, 0, None, algorithm=algorithm)
    called = script("compile_results.py", tmp_path)
    assert called.returncode == 0, called.stderr
    *_, last, methods, paths = called.stdout.rstrip("\n").split("\n\n")
    assert "accuracy of the worst node in %" in methods
    assert [line.split()[0] for line in methods.splitlines()[3:]] == ["dpsgd", "relaysgd"]
    assert methods == methods.strip("\n")
    assert not paths.startswith("\n")
    assert paths.splitlines() == [str(tmp_path / f) for f in ("summary.csv", "summary.h5", "ood_auc.png")]
    assert last.startswith("AUC: sum over all measurements")


def test_what_is_no_folder_is_called_what_it_is(script, tmp_path):
    (tmp_path / "a.h5").touch()
    called = script("compile_results.py", "a.h5")
    right = "; give a folder that holds result files\n"
    assert (called.returncode, called.stderr) == (2, f"error: DIR a.h5: is a file{right}")
    called = script("compile_results.py", "none")
    assert (called.returncode, called.stderr) == (2, f"error: DIR none: no such folder{right}")
