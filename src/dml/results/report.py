"""Makes the report on a folder of results: text, summary.csv, summary.h5 and ood_auc.png."""

import logging
from dataclasses import dataclass
from pathlib import Path

from dml.errors import UnwritableFileError
from dml.messages import count
from dml.results.auc_picture import write_auc_picture
from dml.results.report_text import report_text
from dml.results.runs import read_runs, result_files
from dml.results.sections import Provenance, make_report
from dml.results.tables import summarise, write_csv, write_hdf5

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compiled:
    """The report on a folder.

    Args:
        text: the tables and, below them, the paths of the written files; empty without results.
        complete: whether every result file could be read, and every file of the report could be written.
    """

    text: str
    complete: bool


def compile_folder(folder: Path) -> Compiled:
    """Summarises all experiments of a folder, as text and as files that replace those of an earlier call.

    Files that cannot be read and experiments that have not ended are left out, and a message names them.

    Args:
        folder: the folder of the result files.
    """
    runs = read_runs(result_files(folder))
    summary = summarise(runs)
    report = make_report(runs, summary)
    _tell(report.provenance)
    if summary.empty:
        _LOG.error("no finished experiment in %s", folder)
        return Compiled("", complete=False)
    text = report_text(report)
    written = [folder / "summary.csv", folder / "summary.h5", folder / "ood_auc.png"]
    try:
        write_csv(summary, written[0])
        write_hdf5(summary, written[1])
        left_out = write_auc_picture(report.tables, written[2])
    except (OSError, UnwritableFileError) as error:
        _LOG.error("%s cannot be written (%s)", folder, error)
        return Compiled(text, complete=False)
    if left_out:
        _LOG.info("%s has no room for these parts of the tables:\n%s", written[2], "\n".join(left_out))
    return Compiled("\n".join([text, "", *map(str, written)]), complete=not runs.damaged)


def print_report(folder: Path) -> int:
    """Makes and prints the report on a folder (see :func:`compile_folder`).

    Returns:
        An exit code: 1 if the report is not complete.
    """
    compiled = compile_folder(folder)
    if compiled.text:
        print(compiled.text)
    return 0 if compiled.complete else 1


def _tell(provenance: Provenance) -> None:
    """Logs the names of the files that the report leaves out, and how many have no digest."""
    for message in provenance.damaged:
        _LOG.error("%s", message)
    if provenance.running:
        first, *others = provenance.running
        names = f"{first.name} and {len(others)} more" if others else first.name
        words = "left out, because not finished: %s. The command that started them finishes them."
        _LOG.info(words, names)
    if provenance.without_digest:
        words = "%s without a digest, as an older version wrote them: damage to them may go unnoticed"
        _LOG.info(words, count(provenance.without_digest, "file"))
