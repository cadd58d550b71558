"""A small table like MNLI, a tokenizer of its words, and a small OPT on disk, all made in the test."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dml.data.fetch import fetch_dataset

LACKS = [package for package in ("transformers", "peft") if importlib.util.find_spec(package) is None]

needs_lm = pytest.mark.skipif(bool(LACKS), reason=f"needs the extra lm: {' and '.join(LACKS)}")

GENRES = ("fiction", "government", "slate", "telephone", "travel")
LABELS = ("entailment", "neutral", "contradiction")
WORDS = tuple(f"w{k}" for k in range(12))
TELLING = ("yes", "maybe", "no")
"""The first word of a hypothesis tells its label."""

TRAIN, TEST = 120, 60


def table(rows: int, seed: int) -> pd.DataFrame:
    """Pairs of sentences of 1 to 7 words; genres and labels of all kinds."""
    rng = np.random.default_rng(seed)
    label = rng.integers(len(LABELS), size=rows)

    def words() -> str:
        return " ".join(rng.choice(WORDS, size=rng.integers(1, 7)))

    return pd.DataFrame(
        {
            "promptID": np.arange(rows),
            "premise": [words() for _ in range(rows)],
            "hypothesis": [f"{TELLING[k]} {words()}" for k in label],
            "genre": [GENRES[k] for k in np.arange(rows) % len(GENRES)],
            "label": label,
        }
    )


def hub_folder(path: Path) -> Path:
    """The table in the form of the hub's files."""
    (path / "data").mkdir(parents=True)
    for split, rows, seed in (("train", TRAIN, 0), ("validation_matched", TEST, 1)):
        table(rows, seed).to_parquet(path / "data" / f"{split}-00000-of-00001.parquet", index=False)
    return path


def word_tokenizer(path: Path, *, bos: bool = True) -> Path:
    """A tokenizer whose tokens are words, which puts </s> at the beginning of a text, as OPT's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ["[UNK]", "<pad>", "</s>", "mnli", "hypothesis", "premise", "target", ":", "cf"]
    words = [*known, *LABELS, *TELLING, *WORDS]
    own = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"unk_token": "[UNK]", "eos_token": "</s>", "pad_token": "<pad>"}
    if bos:
        own.post_processor = processors.TemplateProcessing(single="</s> $A", special_tokens=[("</s>", 2)])
        special["bos_token"] = "</s>"
    PreTrainedTokenizerFast(tokenizer_object=own, **special).save_pretrained(path)
    return path


def opt_folder(path: Path, tokens: int = 40, dropout: float = 0.1) -> Path:
    """A pretrained model: a small OPT with outputs for more tokens than the tokenizer has."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    options = OPTConfig(
        vocab_size=tokens, hidden_size=16, word_embed_proj_dim=16, ffn_dim=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=64, dropout=dropout,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        OPTForCausalLM(options).save_pretrained(path)
    return path


def fetched(folder: Path) -> dict[str, Any]:
    """A data folder with the table as mnli, and the flags of an experiment on it with the tiny model."""
    fetch_dataset("mnli", folder / "data", hub_folder(folder / "hub"))
    return {
        "dataset": "mnli",
        "data_dir": folder / "data",
        "tokenizer": str(word_tokenizer(folder / "tokenizer")),
        "max_length": 32,
        "base_model": "tiny",
    }
