"""What the encoder's layer has to give, computed slowly: one Doc, one window, one token at a time."""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from spacy.tokens import Doc
from torch import Tensor

from spacy_bert.encoder import load_checkpoint
from spacy_bert.encoder.packing import pack
from spacy_bert.layers.doc_encoder import DocEncoder, find_part, shim_of
from spacy_bert.layers.weights import load_weights
from spacy_bert.models.encoder import Bert
from spacy_bert.segments import split_character
from spacy_bert.windows import split_windows


def build(checkpoint: Path, **settings: Any) -> Any:
    """checkpoint (Path): A checkpoint. RETURNS (Any): A Bert of small windows with its weights."""
    loaded = load_checkpoint(checkpoint)
    sizes = {k: v for k, v in loaded.config.to_dict().items() if k != "initializer_range"}
    model = Bert(**{**sizes, "window": 12, "stride": 7, "batch_pieces": 25, **settings})
    load_weights(model, loaded)
    return model


def network_of(model: Any) -> DocEncoder:
    return shim_of(model)._model


def slow_vectors(model: Any, docs: Sequence[Doc]) -> Dict[str, Tensor]:
    """model (Model): The model of a `bert` component.
    RETURNS (Dict[str, Tensor]): "tokens" of all Docs behind one another, and each pooling; with gradients."""
    parts: Dict[str, List[Tensor]] = {}
    for doc in docs:
        for name, value in _slow_doc(model, doc).items():
            parts.setdefault(name, []).append(value)
    return {
        name: torch.cat(values) if name == "tokens" else torch.stack(values)
        for name, values in parts.items()
    }


def _slow_doc(model: Any, doc: Doc) -> Dict[str, Tensor]:
    network, settings = network_of(model), find_part(model, "doc-windows").attrs
    tokenizer = settings["tokenizer"].get()
    cls, sep = tokenizer.cls_id, tokenizer.sep_id
    ids, offsets = (array.tolist() for array in tokenizer.encode(doc.text))
    border = split_character(doc)
    split = None if border is None else sum(1 for start, _ in offsets if start < border)

    vectors: Dict[int, Tensor] = {}
    specials: List[Tensor] = []
    starts: List[Tensor] = []
    for window in split_windows(
        len(ids), max_length=settings["window"], stride=settings["stride"], split=split
    ):
        part = ids[window.start : window.end]
        if window.context_end is None:
            row, context, sequence = 1, [], [cls, *part, sep]
            types = [0] * len(sequence)
        else:
            context = ids[: window.context_end]
            row, sequence = len(context) + 2, [cls, *context, sep, *part, sep]
            types = [0] * row + [1] * (len(part) + 1)
        states: List[Tensor] = []
        network.encoder(pack([np.array(sequence)], [np.array(types)]), hidden_states=states)
        rows = torch.cat([states[layer] for layer in network.layers], dim=1)
        starts.append(rows[0])
        specials += [rows[0], rows[-1]]
        if window.context_end is not None:
            specials.append(rows[row - 1])
        if window.reads_context:
            vectors.update({i: rows[1 + i] for i in range(len(context))})
        for piece in range(window.read_start, window.read_end):
            assert piece not in vectors
            vectors[piece] = rows[row + piece - window.start]
    assert sorted(vectors) == list(range(len(ids)))

    tokens = [torch.zeros(0, network.width)]
    for token in doc:
        first, last = token.idx, token.idx + len(token)
        own = [vectors[i] for i, (start, end) in enumerate(offsets) if start < last and end > first]
        tokens.append(torch.stack(own or [torch.zeros_like(starts[0])]).mean(0, keepdim=True))
    read = torch.stack([*vectors.values(), *specials])
    mean_cls = torch.stack(starts).mean(0)
    found = {
        "tokens": torch.cat(tokens),
        "cls": mean_cls,
        "mean": read.mean(0),
        "max": read.max(0).values,
    }
    return {**found, "pooler": network.pooler(mean_cls)} if network.is_last else found
