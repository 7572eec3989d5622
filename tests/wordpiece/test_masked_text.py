"""Texts with masks in them: ids and characters are HuggingFace's."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spacy_bert.wordpiece import WordPieceTokenizer, encode_masked

from .small import small_vocab

MASK = "[MASK]"


@pytest.fixture(scope="module")
def hf(vocab, tmp_path_factory):
    """BertTokenizerFast as fill-mask pipelines have it: special pieces in the text are found."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hf")
    WordPieceTokenizer(vocab).to_disk(folder)
    return transformers.BertTokenizerFast.from_pretrained(folder)


TEXTS = [
    "The [MASK] sat.",
    "[MASK]",
    "[MASK][MASK]  [MASK]",
    "un[MASK]able[MASK]",
    "[mask] [ MASK ] [MASK",
    "[[MASK]]",
    "",
    "no mask",
    "e[MASK]\u0301 \u00e9[MASK]\u00e9 \u4e2d[MASK]\u56fd",
    "\x00[MASK]\ufffd[MASK]\u200b",
]


def check(tokenizer, hf, texts):
    for text, found in zip(texts, encode_masked(tokenizer, texts), strict=True):
        expected = hf(text, add_special_tokens=False, return_offsets_mapping=True)
        assert found.ids.tolist() == expected["input_ids"], text
        assert found.offsets.tolist() == [list(pair) for pair in expected["offset_mapping"]], text
        assert found.ids.dtype == found.offsets.dtype == np.int32


def test_is_what_huggingface_reads(tokenizer, hf):
    """Catches a mask that is read as plain text, in another case or with blanks inside; and pieces
    before or after it that are cut as if it were not there."""
    check(tokenizer, hf, TEXTS)


@given(parts=st.lists(st.text(max_size=8), max_size=5))
def test_any_text(tokenizer, hf, parts):
    """Catches characters counted wrongly behind a mask, whatever the text."""
    text = MASK.join(parts)
    try:
        text.encode("utf8")
    except UnicodeEncodeError:  # a lone surrogate: HuggingFace does not take it
        assert (encode_masked(tokenizer, [text])[0].ids == tokenizer.mask_id).sum() == text.count(
            MASK
        )
        return
    ours = encode_masked(tokenizer, [text])[0]
    masks = ours.offsets[ours.ids == tokenizer.mask_id].tolist()
    assert [text[start:end] for start, end in masks] == [MASK] * text.count(MASK)
    # Of all special pieces, a text may have masks; HuggingFace finds the others, too.
    assume(not any(special in text for special in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")))
    assert ours.ids.tolist() == hf(text, add_special_tokens=False)["input_ids"]


def test_without_masks_nothing_changes(tokenizer):
    """Catches a text without a mask that is read otherwise than by the encoder."""
    texts = ["The cat", "", "caf\u00e9 [SEP] [CLS]"]
    for one, other in zip(encode_masked(tokenizer, texts), tokenizer.encode_batch(texts)):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.offsets, other.offsets)


def test_other_names_for_the_mask():
    """Catches "[MASK]" where the tokenizer's mask has another name, one that a pattern could read
    as more than text."""
    pieces = ["<m*sk>" if piece == MASK else piece for piece in small_vocab()]
    tokenizer = WordPieceTokenizer(pieces, mask="<m*sk>")
    [found] = encode_masked(tokenizer, ["[MASK] <m*sk> <mmsk>"])
    places = found.offsets[found.ids == tokenizer.mask_id]
    assert places.tolist() == [[7, 13]]
