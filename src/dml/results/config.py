"""The options of the scripts that show results."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from dml.errors import ArgumentError, InputError
from dml.field_types import Positional, UserPath
from dml.files import FILE, FOLDER, check_writable_file, what_is_at
from dml.section import Section

FORMATS = (".png", ".pdf", ".svg")


class CompileConfig(Section):
    """The options of ``compile_results.py``."""

    folder: Annotated[UserPath, Positional("DIR")] = Field(
        description="folder of result files, such as results/quickstart"
    )

    @field_validator("folder")
    @classmethod
    def _is_folder(cls, folder: Path) -> Path:
        found = what_is_at(folder)
        if found != FOLDER:
            raise ArgumentError("DIR", folder, f"{found}; give a folder that holds result files")
        return folder


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
        files = tuple(file for file in files if file.name != "summary.h5")
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
        if out.suffix.lower() not in FORMATS:
            raise InputError("out", out, f"must end with {', '.join(FORMATS)}")
        check_writable_file(out, "out")
        return out
