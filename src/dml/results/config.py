"""The options of the scripts that show results."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dml.errors import ArgumentError, InputError
from dml.field_types import Positional, UserPath
from dml.files import FILE, FOLDER, check_writable_file, what_is_at
from dml.results.judges import Judge
from dml.section import Section

FORMATS = (".png", ".pdf", ".svg")

Over = Literal["rounds", "seconds", "bytes"]
"""Over what AUCs are formed: all measurements, or simulated seconds or bytes up to a budget."""

SUMMARIES: dict[Over, str] = {
    "rounds": "summary",
    "seconds": "summary_over_seconds",
    "bytes": "summary_over_bytes",
}
"""The names of the tables of a folder, without their endings."""

AUC_PICTURES: dict[Over, str] = {over: name.replace("summary", "ood_auc") for over, name in SUMMARIES.items()}
"""The names of the pictures of the AUCs, without their endings."""

REFERENCES = ("centralized", "traversal", "fedavg")
"""The algorithms that others are compared with: the ceiling, which is one model trained on the data of all
nodes, and federated averaging. They come last in tables, and are lines in pictures."""


class CompileConfig(Section):
    """The options of ``compile_results.py``."""

    folder: Annotated[UserPath, Positional("DIR")] = Field(
        description="folder of result files, such as results/quickstart"
    )

    auc_over: Over = Field(
        "rounds",
        description="over what AUCs are formed: rounds (the sum over all measurements), seconds or bytes "
        "(the mean accuracy in percent from the start to a budget of simulated seconds or bytes, which is "
        "the same for all experiments that are compared; they may then differ in rounds and eval_every)",
    )
    auc_until: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="the budget of --auc_over, in seconds or bytes (default: for each topology, the smallest "
        "total of its experiments)",
    )
    by_rank: bool = Field(
        False,
        description="show each place of the OOD data by itself: the rank of the OOD nodes by degree, 1 for "
        "the highest",
    )
    verdicts: float | None = Field(
        None,
        gt=0,
        le=1,
        description="also judge the runs by the model that is delivered, the mean model, the average node, "
        "the worst node and node 0: by the test accuracy after the last round, and by the updates, simulated "
        "seconds and bytes until the test accuracy is VERDICTS, such as 0.8; the values go to verdicts.csv",
    )
    curves: UserPath | None = Field(
        None,
        description="also draw accuracies against updates, simulated seconds and bytes: a png, pdf or svg "
        "file; an existing file is replaced",
    )
    judged_by: Judge = Field(
        "nodes",
        description="by whose model --curves judges a run: nodes (the mean accuracy of all nodes), worst "
        "(the worst node), node0, mean_model or deliverable",
    )

    @field_validator("folder")
    @classmethod
    def _is_folder(cls, folder: Path) -> Path:
        found = what_is_at(folder)
        if found != FOLDER:
            raise ArgumentError("DIR", folder, f"{found}; give a folder that holds result files")
        return folder

    @field_validator("curves")
    @classmethod
    def _is_picture(cls, curves: Path | None) -> Path | None:
        return curves and _picture(curves, "curves")

    @model_validator(mode="after")
    def _has_a_cost_to_end(self) -> Self:
        if self.auc_until is not None and self.auc_over == "rounds":
            raise InputError("auc_until", self.auc_until, "needs --auc_over seconds or bytes, which it ends")
        return self

    @model_validator(mode="after")
    def _has_curves_to_judge(self) -> Self:
        if "judged_by" in self.model_fields_set and self.curves is None:
            raise InputError("judged_by", self.judged_by, "needs --curves FILE, the picture that it changes")
        return self


class NodePictureConfig(Section):
    """The options of ``draw_nodes.py``."""

    files: Annotated[tuple[UserPath, ...], Positional("FILE")] = Field(
        description="result files, one panel each; nodes with OOD data have a red ring, and nodes without a "
        "value are grey"
    )
    metric: str = Field(
        "ood_acc", description="the metric that colours the nodes: a name below /metrics of the files"
    )
    round: int | None = Field(
        None,
        description="the round after whose training the metric was measured (default: the end, or the last "
        "measurement that has values)",
    )
    out: UserPath = Field(
        Path("nodes.png"), description="the picture, as png, pdf or svg; an existing file is replaced"
    )

    @field_validator("files")
    @classmethod
    def _are_results(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        # results/quickstart/*.h5 also names the table of the sweep.
        files = tuple(file for file in files if file.stem not in SUMMARIES.values())
        if not files:
            raise ArgumentError("FILE", None, "name at least one result file")
        for file in files:
            found = what_is_at(file)
            if found != FILE:
                raise ArgumentError("FILE", file, f"{found}; give result files, such as results/single/*.h5")
        return files

    @field_validator("out")
    @classmethod
    def _is_picture(cls, out: Path) -> Path:
        return _picture(out, "out")


def _picture(path: Path, flag: str) -> Path:
    """Checks the path of a picture that is to be written."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(flag, path, f"must end with {', '.join(FORMATS)}")
    check_writable_file(path, flag)
    return path
