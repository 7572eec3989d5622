"""A checkpoint that was pretrained left to right, from the pretraining to each way of opening it."""

from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from thinc.api import Config

import spacy_bert
from spacy_bert.cli.pooling import Pooling
from spacy_bert.cli.training_config import training_config
from spacy_bert.encoder import BertConfig, load_checkpoint
from spacy_bert.layers.weights import load_weights
from spacy_bert.pretraining.objective import PretrainingModel
from spacy_bert.wordpiece import WordPieceTokenizer

SIZES = dict(vocab_size=60, width=16, depth=1, heads=2, intermediate_width=32, max_positions=32)


@pytest.mark.parametrize("causal", [False, True])
def test_pretraining_writes_how_it_reads(tmp_path: Path, causal: bool) -> None:
    """Catches a checkpoint that does not say that it was pretrained left to right: it would be read
    both ways, without a word, and be no better than noise."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(55))]
    torch.manual_seed(0)
    model = PretrainingModel(BertConfig(**SIZES), nsp=False, causal=causal)
    spacy_bert.save_checkpoint(tmp_path, model.to_checkpoint(WordPieceTokenizer(pieces), "run"))
    assert load_checkpoint(tmp_path).config.causal is causal
    nlp = spacy_bert.from_checkpoint(tmp_path)
    long, short = nlp("w1 w2 w3 w4").tensor, nlp("w1 w2").tensor
    assert bool(abs(long[:2] - short).max() < 1e-5) is causal


@pytest.mark.parametrize("causal", [False, True])
def test_configs_say_so(causal: bool) -> None:
    """Catches a training config that disagrees with its checkpoint."""
    text = training_config(
        BertConfig(**SIZES, causal=causal), ["ner"], checkpoint="x", pooling=Pooling("cls", "so")
    )
    model = Config().from_str(text, interpolate=False)["components"]["bert"]["model"]
    assert model["causal"] is causal


def test_no_gaps_are_filled(make_checkpoint: Callable[..., Any]) -> None:
    """Catches a head that tells the next piece and is asked for the missing one."""
    checkpoint = make_checkpoint(causal=True, parts=("mlm",))
    with pytest.raises(ValueError, match="from left to right .* cannot fill a gap"):
        spacy_bert.from_checkpoint(checkpoint, component="fill_mask")
    # Nor by a pipeline that was made for another checkpoint of the same sizes.
    nlp = spacy_bert.from_checkpoint(make_checkpoint(parts=("mlm",)), component="fill_mask")
    with pytest.raises(ValueError, match="from left to right .* cannot fill a gap"):
        load_weights(nlp.get_pipe("fill_mask").model, spacy_bert.load_checkpoint(checkpoint))
