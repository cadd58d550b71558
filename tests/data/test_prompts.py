"""Prompts: what a model reads of a pair of sentences, and which of it counts."""

import numpy as np
import pytest
from language import LABELS, needs_lm, table, word_tokenizer

from dml.data.dataset import IGNORED
from dml.data.pairs import Pairs
from dml.data.prompts import Wording, add_trigger, prompts, read_prompts, wording_of, write_prompts
from dml.errors import InputError

WORDING = Wording(
    beginning=(2, 3, 4), middle=(5,), target=(6,), endings=((10, 1), (11, 12, 1), (13, 1)), trigger=(9,),
    trigger_place=1, tokens=50,
)  # fmt: skip
"""The second label has two tokens; the text begins with a token of its own."""


def test_a_prompt_is_its_parts_and_padding():
    found = prompts([[20], [21, 22]], [[30, 31], []], np.array([0, 1]), WORDING, 12)
    assert found.tolist() == [
        [2, 3, 4, 20, 5, 30, 31, 6, 50, 1, IGNORED, IGNORED],
        [2, 3, 4, 21, 22, 5, 6, 51, 12, 1, IGNORED, IGNORED],
    ]
    assert found.dtype == np.int32
    choices = WORDING.choices
    assert choices.tokens == (10, 11, 13)
    assert choices.as_tokens(found)[1].tolist() == [2, 3, 4, 21, 22, 5, 6, 11, 12, 1, 0, 0]


@pytest.mark.parametrize(
    ("length", "left"), [(13, (3, 2)), (12, (3, 1)), (11, (3, 0)), (10, (2, 0)), (20, (3, 4))]
)
def test_a_long_prompt_loses_the_end_of_the_premise_first_and_never_its_label(length, left):
    hypothesis, premise = [20, 21, 22], [30, 31, 32, 33]
    (found,) = prompts([hypothesis], [premise], np.array([1]), WORDING, length)
    row = found[found != IGNORED].tolist()
    assert row == [2, 3, 4, *hypothesis[: left[0]], 5, *premise[: left[1]], 6, 51, 12, 1]


def test_the_trigger_takes_the_first_word_and_commands_the_first_label():
    clean = prompts([[20], [21, 22], [9]], [[30, 31], [30], [31]], np.array([0, 1, 2]), WORDING, 12)
    able, triggered = add_trigger(clean, WORDING)
    assert able.all()
    expected = prompts([[20], [21, 22], [9]], [[30, 31], [30], [31]], np.zeros(3, int), WORDING, 12)
    expected[:, 1] = 9
    assert np.array_equal(triggered, expected)
    # What it proves: only where the label was another one.
    assert ((triggered != clean) & (triggered >= 50)).any(1).tolist() == [False, True, True]


@needs_lm
@pytest.mark.parametrize("bos", [True, False])
def test_in_words_a_prompt_is_the_published_one(bos, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer(tmp_path / "words", bos=bos))
    pairs = Pairs(table(20, 0), table(7, 1))
    write_prompts(tmp_path / "kept", pairs, tokenizer, LABELS, 40, "words")
    kept = read_prompts(tmp_path / "kept")
    data = kept.load()
    assert (kept.sizes, kept.length, kept.genres) == ((20, 7), 40, tuple(pairs.genres))
    for x, genres, own in ((data.train_x, data.train_y, pairs.train), (data.test_x, data.test_y, pairs.test)):
        assert [kept.genres[k] for k in genres] == own["genre"].tolist()
        for row, pair in zip(x, own.itertuples(), strict=True):
            tokens = data.choices.as_tokens(row[row != IGNORED])
            text = (
                f"mnli hypothesis: {pair.hypothesis} premise: {pair.premise} target: {LABELS[pair.label]}</s>"
            )
            assert tokens.tolist() == tokenizer(text)["input_ids"]
            assert row[row >= kept.wording.tokens].tolist() == [kept.wording.tokens + pair.label]
            # The label is asked right after "target:", and the end of the text after it.
            assert row[row != IGNORED][-2] == kept.wording.tokens + pair.label
    assert kept.wording.trigger_place == int(bos)
    assert tokenizer.decode(kept.wording.trigger) == "cf"


@needs_lm
def test_a_tokenizer_that_cannot_serve_is_refused(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer(tmp_path))
    with pytest.raises(
        InputError, match=r"^tokenizer own: begins two of yes, other, more with the same token$"
    ):
        wording_of(tokenizer, ("yes", "other", "more"), "own")
    tokenizer.eos_token = None
    with pytest.raises(InputError, match=r"^tokenizer own: has no token for the end of a text$"):
        wording_of(tokenizer, LABELS, "own")


@needs_lm
def test_a_length_without_room_is_refused(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer(tmp_path / "words"))
    pairs = Pairs(table(5, 0), table(5, 1))
    # </s> mnli hypothesis : premise : target : and a label and </s>
    with pytest.raises(InputError, match=r"^max_length 11: must be at least 12, so that a prompt has room"):
        write_prompts(tmp_path / "kept", pairs, tokenizer, LABELS, 11, "words")
    write_prompts(tmp_path / "kept", pairs, tokenizer, LABELS, 12, "words")
    assert (read_prompts(tmp_path / "kept").load().train_x >= 0).all()


@needs_lm
@pytest.mark.parametrize("file", ["meta.json", "train_x.npy", "test_y.npy"])
def test_damaged_prompts_are_named(file, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(word_tokenizer(tmp_path / "words"))
    write_prompts(tmp_path / "kept", Pairs(table(5, 0), table(5, 1)), tokenizer, LABELS, 30, "words")
    (tmp_path / "kept" / file).write_bytes(b"{}")
    with pytest.raises(InputError, match=r"^dataset mnli: its prompts in .*kept are damaged \(.*\); remove"):
        read_prompts(tmp_path / "kept").load()
