"""MNLI (Williams et al., NAACL 2018, arXiv 1704.05426): does a premise entail a hypothesis?

A language model reads both sentences and predicts the label as the next word (:mod:`dml.data.prompts`). The
kinds of samples, by which they are dealt out to the nodes, are the genres of the sentences. The test data are
those with the same genres (``validation_matched``), as the labels of the real test data are not public.
"""

import logging
from pathlib import Path

from pydantic import Field, field_validator

from dml.data.data_dir import fetch_command, not_fetched
from dml.data.dataset import NEXT_TOKEN, Dataset, DatasetSpec
from dml.data.kept import is_kept
from dml.data.source import DataSource, HubPairs
from dml.errors import InputError
from dml.files import folder_for
from dml.models import pretrained
from dml.section import Section

_log = logging.getLogger(__name__)

NAME = "mnli"

HUB = HubPairs(
    "nyu-mll/multi_nli",
    labels=("entailment", "neutral", "contradiction"),
    genres=5,
    sizes=(392_702, 9_815),
    splits={"train": "train", "test": "validation_matched"},
)

OPT_TOKENS = 50_265
"""The number of tokens of the default tokenizer."""

MAX_LENGTH = 1 << 16
"""More tokens than any sequence of these has."""


class MnliOptions(Section):
    """How the sentences become tokens."""

    tokenizer: str = Field(
        "facebook/opt-125m",
        description="tokenizer of mnli: a folder, or a name on Hugging Face's hub that is in its cache here",
    )
    max_length: int = Field(128, ge=2, le=MAX_LENGTH, description="tokens in a prompt of mnli, at most")

    @field_validator("tokenizer")
    @classmethod
    def _absolute(cls, name: str) -> str:
        return pretrained.absolute(name)


def _describe(options: MnliOptions, data_dir: Path) -> DatasetSpec:
    """The data set; if they are there, its sentences are turned into prompts once for each tokenizer."""
    choices = len(HUB.labels)
    if not is_kept(data_dir / NAME):
        return DatasetSpec((options.max_length,), HUB.genres, HUB.sizes, tokens=OPT_TOKENS, choices=choices)
    from dml.data.pairs import KeptPairs
    from dml.data.prompts import read_prompts

    meta = KeptPairs(data_dir / NAME, NAME, f"run: {fetch_command([NAME], data_dir)}").meta()
    mark = _tokenizer_mark(options)
    found = read_prompts(_made(options, data_dir, meta.fingerprint, mark))
    return DatasetSpec(
        (found.length,),
        len(found.genres),
        found.sizes,
        tokens=found.wording.tokens,
        choices=choices,
        fingerprint=None if found.sizes == HUB.sizes else meta.fingerprint,
        marks={"tokenizer": mark},
    )


def _load(options: MnliOptions, data_dir: Path, seed: int) -> Dataset:
    if not is_kept(data_dir / NAME):
        raise not_fetched([NAME], data_dir)
    from dml.data.pairs import KeptPairs
    from dml.data.prompts import read_prompts

    meta = KeptPairs(data_dir / NAME, NAME, f"run: {fetch_command([NAME], data_dir)}").meta()
    return read_prompts(_made(options, data_dir, meta.fingerprint, _tokenizer_mark(options))).load()


def _tokenizer_mark(options: MnliOptions) -> str:
    name = options.tokenizer
    path = pretrained.find(name, "tokenizer")
    return pretrained.fingerprint(path, pretrained.TOKENIZER, "tokenizer", name)


def _made(options: MnliOptions, data_dir: Path, content: str, mark: str) -> Path:
    """The folder of the prompts of a tokenizer, which is written if it does not exist."""
    target = data_dir / "prompts" / f"{NAME}-{content}-{mark}-{options.max_length}"
    if is_kept(target):
        return target
    name = options.tokenizer
    transformers = pretrained.library("tokenizer", name)
    from dml.data.pairs import KeptPairs
    from dml.data.prompts import write_prompts

    _log.info(f"{NAME}: turning its sentences into tokens, once, into {target}")
    path = pretrained.find(name, "tokenizer")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:
        # The libraries raise nearly anything for damaged files.
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError("tokenizer", name, f"cannot be loaded ({reason})") from None
    pairs = KeptPairs(data_dir / NAME, NAME, f"run: {fetch_command([NAME], data_dir)}").load()
    with folder_for(data_dir, "data_dir"):
        try:
            write_prompts(target, pairs, tokenizer, HUB.labels, options.max_length, name)
        except OSError as error:
            raise InputError("data_dir", data_dir, f"cannot be written ({error.strerror or error})") from None
    return target


MNLI = DataSource(
    describe=_describe,
    load=_load,
    options=MnliOptions,
    # As published, all nodes start from the same model and take batches of 32.
    defaults={
        "model": "opt", "init": "same", "optimizer": "adam", "lr": 1e-4, "batch_size": 32, "epochs": 1,
    },
    task=NEXT_TOKEN,
    hub=HUB,
)  # fmt: skip
