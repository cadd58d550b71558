#!/usr/bin/env python
"""Runs a sweep of experiments over Parsl workers, one HDF5 file each, and prints its table.

python src/experiments/bd_scheduler.py --preset quickstart
python src/experiments/bd_scheduler.py --rounds 40 --parsl_config aurora
python src/experiments/bd_scheduler.py --dry_run
"""

import contextlib
import importlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from dml import command_line
from dml.data import images
from dml.errors import InputError
from dml.parallel import sites, sweep
from dml.parallel.tune import Tuner
from dml.plan import check_writable

DESCRIPTION = "A sweep of experiments over Parsl workers: one HDF5 file each, and a table at the end."
SITES = Path(__file__).resolve().parents[2] / "parsl_configs"


def main() -> int:
    """Parses the flags, runs what is missing of the sweep, prints the table."""
    sweep.refuse_factors(sys.argv[1:])
    given = command_line.parse(
        sweep.fields(),
        sys.argv[1:],
        prog="bd_scheduler.py",
        description=DESCRIPTION,
        defaults=sweep.shown_defaults(),
    )
    own, flags = sweep.make(given)
    site = sites.load_site(own.parsl_config, SITES)
    options = sites.parse_options(own.site_options)
    if own.workers is not None:
        options.setdefault("workers", str(own.workers))
    site.check(options)
    folder = sweep.out_dir(own)
    check_writable(folder)
    plans = sweep.experiments(own, flags)
    if own.dry_run:
        from dml.parallel.forecast import forecast

        workers = None
        if "workers" in site.options:
            workers = sites.whole_number({"workers": site.options["workers"][0]} | options, "workers")
        print(forecast(plans, workers, folder))
        if own.tune_lr:
            print("each is searched for with --tune_lr: some 5 to 10 candidates, so as many times the above")
        return 0
    if plans:
        images.check_there((p.config.data.dataset for p in plans), plans[0].config.data.data_dir)
    tuner = None
    if own.tune_lr:
        tuner = Tuner(sweep.combinations(own, flags), own.tune_lr)
        plans = tuner.first()
    # A folder of its own: Parsl's search for a free number is no match for two schedulers at once.
    run_dir = site.run_dir(folder / ".parsl" / f"{socket.gethostname()}-{os.getpid()}")
    site.config(options, run_dir)  # whether one can be made at all, before anything is written
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError("out_dir", folder, f"cannot be made ({error.strerror})") from None

    from dml.parallel.scheduler import LostInterchangeError, LostWorkersError, Sweep
    from dml.progress import Progress

    signal.signal(signal.SIGTERM, _interrupt)  # as a batch system sends at the end of a job
    started = time.monotonic()
    try:
        with Progress("experiment", len(plans)) as bar:
            work: Sweep | None = None

            def show(done: int, note: str = "") -> None:
                if work:  # else a damaged file is told while it is made
                    bar.expect(work.outcome.total)
                bar.update(done, note)

            work = Sweep(plans, folder, bar.say, show, tuner.follow if tuner else lambda plan: [])
            if work.outcome.skipped:
                bar.say(f"{work.outcome.skipped} of {work.outcome.total} experiments are done already")
            show(work.outcome.done)
            if work.left:
                threading.Thread(target=_prepare_report).start()
            outcome = work.run(lambda: site.config(options, run_dir)) if work.left else work.outcome
    except LostWorkersError as error:
        print(f"error: {error}\nthe same command goes on with what is missing", file=sys.stderr, flush=True)
        if isinstance(error, LostInterchangeError):
            os._exit(1)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the same command goes on with what is missing", file=sys.stderr)
        return 130
    finally:
        if folder.absolute() not in run_dir.parents:
            shutil.rmtree(run_dir, ignore_errors=True)
    if outcome.done > outcome.skipped:
        took = f"{time.monotonic() - started:.0f} s"
        print(f"{outcome.done} of {outcome.total} experiments are done, after {took}", file=sys.stderr)
    code = _tuned(tuner, folder / f"{sweep.name(own)}-tuned.yaml") if tuner else _report(folder)
    if outcome.failed:
        print(f"\n{len(outcome.failed)} of {outcome.total} experiments failed:", file=sys.stderr)
        for line in outcome.failed:
            print(f"  {line}", file=sys.stderr)
        print("the same command tries them again", file=sys.stderr)
        return 1
    return code


def _tuned(tuner: Tuner, path: Path) -> int:
    """Prints the learning rates and writes the sweep's file with them; 1 if one was not found."""
    print("\n".join(tuner.report()))
    tuner.write(path)
    print(f"\n{path}")
    return 0 if all(search.best is not None for search in tuner.searches) else 1


def _report(folder: Path) -> int:
    """Prints the report on a folder of results and writes its files; 1 if a file was left out."""
    from dml.results.report import compile_folder

    compiled = compile_folder(folder)
    if compiled.text:
        print(compiled.text)
    return 0 if compiled.complete else 1


def _prepare_report() -> None:
    """Imports what the report needs, most of its time, while Parsl starts and this process waits."""
    with contextlib.suppress(ImportError):  # the report will tell
        importlib.import_module("dml.results.report")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    command_line.guard(main)
