"""Where the weights of a model with a BERT in it come from: a checkpoint, or a generator of numbers."""

from contextlib import contextmanager
from typing import Iterator, Sequence

import torch
from thinc.api import Model
from torch import nn

from ..encoder import BertConfig, Checkpoint, initialize_weights
from ..wordpiece import WordPieceTokenizer
from .doc_encoder import find_part, shim_of


def load_weights(model: Model, checkpoint: Checkpoint) -> None:
    """Give a model with a BERT in it the weights and the vocabulary of a checkpoint. In place.

    model (Model): The model.
    checkpoint (Checkpoint): What to load. A pooler that it lacks gets random weights.
    RAISES: ValueError if its sizes are not those of the model, or it lacks another part or the vocabulary.
    """
    encoder = find_part(model, "doc-encoder")
    config = BertConfig(**encoder.attrs["sizes"])
    parts = [name for name, _ in shim_of(encoder)._model.named_children()]
    if "mlm" in parts:
        check_masked(checkpoint.config)
    check_sizes(config, checkpoint)
    _check_parts(parts, checkpoint)
    if checkpoint.tokenizer is None:
        raise ValueError(
            f"The checkpoint {checkpoint.source} was loaded without its vocabulary, without which no text "
            f"can be read. Load it by spacy_bert.load_checkpoint(path), without tokenizer=False."
        )
    with _empty_network(encoder) as network:
        for name in parts:
            if name in checkpoint.parts:
                network.get_submodule(name).load_state_dict(checkpoint.part(name))
            else:
                initialize_weights(network.get_submodule(name), std=config.initializer_range)
    _set_tokenizer(model, checkpoint.tokenizer)


def randomize_weights(model: Model, tokenizer: WordPieceTokenizer) -> None:
    """Give a model with a BERT in it BERT's random initial weights. In place.

    model (Model): The model.
    tokenizer (WordPieceTokenizer): Its vocabulary.
    RAISES: ValueError if the vocabulary is larger than the embedding.
    """
    encoder = find_part(model, "doc-encoder")
    config = BertConfig(**encoder.attrs["sizes"])
    if len(tokenizer) > config.vocab_size:
        raise ValueError(
            f"The vocabulary has {len(tokenizer)} pieces, but vocab_size is {config.vocab_size}. "
            f"Set vocab_size = {len(tokenizer)} in the section of the encoder's model."
        )
    with _empty_network(encoder) as network:
        initialize_weights(network, std=config.initializer_range)
    _set_tokenizer(model, tokenizer)


def to_checkpoint(model: Model, source: str) -> Checkpoint:
    """The counterpart of `load_weights`.

    model (Model): A model with a BERT in it that has weights.
    source (str): Where they come from, for people.
    RETURNS (Checkpoint): Its weights, copied, and its vocabulary.
    """
    encoder = find_part(model, "doc-encoder")
    state = shim_of(encoder)._model.state_dict()
    return Checkpoint(
        BertConfig(**encoder.attrs["sizes"]),
        find_part(model, "doc-windows").attrs["tokenizer"].get(),
        {name: weight.detach().to("cpu", copy=True) for name, weight in state.items()},
        source,
    )


@contextmanager
def _empty_network(encoder: Model) -> Iterator[nn.Module]:
    """The layer's network with memory for its weights on the device in use, to be filled."""
    shim = shim_of(encoder)
    network: nn.Module = shim._model
    shim.forget_engine()
    device = shim.target_device()
    # Not torch's `to_empty`, which makes one tensor like another: for those without memory it imports
    # its compiler, which takes half a second and, interrupted, is never whole again.
    network._apply(lambda weight: torch.empty(weight.shape, dtype=weight.dtype, device=device))
    try:
        yield network
    except BaseException:
        # Half of them would pass for weights.
        network.to("meta")
        raise


def _set_tokenizer(model: Model, tokenizer: WordPieceTokenizer) -> None:
    find_part(model, "doc-windows").attrs["tokenizer"].tokenizer = tokenizer


def check_masked(config: BertConfig) -> None:
    """config (BertConfig): A checkpoint's.
    RAISES: ValueError if it was pretrained left to right."""
    if config.causal:
        raise ValueError(
            "The checkpoint reads from left to right (is_decoder): its masked-LM head tells the next "
            "piece, and cannot fill a gap. Give one that was pretrained with masks (causal = false)."
        )


# A checkpoint must agree on these; the dropouts are the user's choice.
SIZES_OF_WEIGHTS = (
    "vocab_size",
    "width",
    "depth",
    "heads",
    "intermediate_width",
    "max_positions",
    "type_vocab_size",
    "layer_norm_eps",
    "activation",
    "causal",
)


def check_sizes(config: BertConfig, checkpoint: Checkpoint) -> None:
    """config (BertConfig): The sizes in the pipeline's config.
    checkpoint (Checkpoint): The checkpoint to be loaded.
    RAISES: ValueError naming each size in which they differ."""
    theirs = checkpoint.config.to_dict()
    ours = config.to_dict()
    wrong = [
        f"{key} = {ours[key]!r} where the checkpoint has {theirs[key]!r}"
        for key in SIZES_OF_WEIGHTS
        if ours[key] != theirs[key]
    ]
    if wrong:
        raise ValueError(
            f"The config of the encoder and the checkpoint {checkpoint.source} disagree: "
            f"{'; '.join(wrong)}. Put the checkpoint's sizes into the section of the encoder's "
            f"model (`python -m spacy_bert init-config` writes them)."
        )


# Parts of a network -> what to call them.
PARTS = {
    "encoder": "an encoder",
    "pooler": "a pooler",
    "mlm": "a masked-LM head",
    "nsp": "a next-sentence head",
}
# A network that is trained further can learn these anew.
MAY_BE_RANDOM = ("pooler",)


def _check_parts(needed: Sequence[str], checkpoint: Checkpoint) -> None:
    missing = [part for part in needed if part not in (*checkpoint.parts, *MAY_BE_RANDOM)]
    if missing:
        found = [name for part, name in PARTS.items() if part in checkpoint.parts]
        raise ValueError(
            f"The checkpoint {checkpoint.source} lacks {PARTS[missing[0]]}, without which nothing "
            f"can be predicted. It holds {', '.join(found)}. Give one that was pretrained and not "
            f"stripped of it (HuggingFace's BertForMaskedLM or BertForPreTraining; `python -m "
            f"spacy_bert info` says what a folder holds)."
        )
