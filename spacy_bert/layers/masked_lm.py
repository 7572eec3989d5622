"""The masked language model over masks of Docs: the encoder, its tied decoder, and the best pieces.

Legend: M masks of the batch, K best pieces, W width of a vector, V rows of the piece embedding.
"""

from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from thinc.api import Model
from thinc.types import ArgsKwargs
from torch import Tensor, nn

from ..encoder import BertConfig, BertEncoder, MaskedLMHead
from ..encoder.engine import Engine
from ..encoder.packing import ENGINE_ROWS, fill, move
from ..encoder.shapes import without_memory
from .config_attr import ConfigDict
from .doc_encoder import ONE_SEGMENT_TYPE, init, shim_of
from .mask_windows import MaskBatch
from .shim import BertShim

# Logits are as wide as the vocabulary: 256 rows of them take 31 MB with BERT's 30,522 pieces, where
# a text of nothing but masks would take half a gigabyte.
ROWS_AT_ONCE = 256


class MaskedLM(nn.Module):
    """BERT with its masked-LM head, from windows to the best pieces for each mask.

    config (BertConfig): Its sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.encoder = BertEncoder(config)
        self.mlm = MaskedLMHead(config)

    def forward(
        self, batch: MaskBatch, top_k: int, *, engine: Optional[Engine] = None
    ) -> Dict[str, Tensor]:
        """batch (MaskBatch): The masks.
        top_k (int): How many pieces to name for each.
        engine (Optional[Engine]): What encodes, if not the encoder itself.
        RETURNS (Dict[str, Tensor]): "ids" of the best pieces, best first, their "logits", and their
            "probabilities" among all pieces, each of shape (M, K)."""
        embeddings = self.encoder.embeddings.pieces.weight
        device = embeddings.device
        n_masks = sum(map(len, batch.offsets))
        k = min(top_k, batch.n_pieces)
        results = {
            "ids": torch.zeros(n_masks, k, dtype=torch.int64, device=device),
            "logits": torch.zeros(n_masks, k, dtype=torch.float32, device=device),
            "probabilities": torch.zeros(n_masks, k, dtype=torch.float32, device=device),
        }
        encode = engine or self.encoder
        for part in batch.micro_batches:
            rows, masks = (move(torch.from_numpy(a), device) for a in (part.rows, part.masks))
            vectors = encode(fill(part.pieces.to(device), ENGINE_ROWS))[rows]
            for some, places in zip(vectors.split(ROWS_AT_ONCE), masks.split(ROWS_AT_ONCE)):
                logits = self.mlm(some, embeddings)  # (rows, W) -> (rows, V)
                # Embeddings are often padded to a round number of rows. The pieces that are none
                # take their share of the probability, but are not named.
                best, ids = logits[:, : batch.n_pieces].topk(k)  # (rows, K)
                total = logits.logsumexp(dim=1, keepdim=True)
                results["ids"][places] = ids
                results["logits"][places] = best
                results["probabilities"][places] = (best - total).exp()
        return results


class MaskPredictions(NamedTuple):
    """The best pieces for each mask of one Doc, best first.

    offsets (np.ndarray): Start and end of each mask in the text, shape (n_masks, 2), int32.
    ids (np.ndarray): Piece ids, shape (n_masks, K), int32.
    logits (np.ndarray): Their logits, shape (n_masks, K), float32.
    probabilities (np.ndarray): Their probabilities among all pieces, shape (n_masks, K), float32.
    """

    offsets: np.ndarray
    ids: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray


def masked_lm(config: BertConfig, *, top_k: int) -> Model[MaskBatch, List[MaskPredictions]]:
    """The masked language model as a Thinc layer.

    config (BertConfig): Its sizes.
    top_k (int): How many pieces to name for each mask.
    RETURNS (Model[MaskBatch, List[MaskPredictions]]): The layer, without weights until they are
        loaded, and under the name by which an encoder is found. It predicts only.
    """
    with without_memory():
        network = MaskedLM(config).float()  # whatever torch's default is
    return Model(
        "doc-encoder",
        forward,
        init=init,
        dims={"nO": config.vocab_size},
        attrs={"sizes": ConfigDict(config.to_dict()), "top_k": top_k},
        shims=[BertShim(network.eval())],
    )


def forward(
    model: Model[MaskBatch, List[MaskPredictions]], batch: MaskBatch, is_train: bool
) -> Tuple[List[MaskPredictions], Callable]:
    """batch (MaskBatch): The masks.
    RETURNS (Tuple[List[MaskPredictions], Callable]): The best pieces, one entry a Doc; and no way back.
    RAISES: ValueError in training; FloatingPointError if the logits are not finite."""
    if is_train:
        raise ValueError(
            "spacy-bert.BertMaskedLM.v1 predicts and is not trained: it gives no gradient. To train a "
            "masked language model, use `python -m spacy_bert pretrain`."
        )
    if model.attrs["sizes"]["type_vocab_size"] < 2 and any(
        bool(part.pieces.type_ids.any()) for part in batch.micro_batches
    ):
        raise ValueError(f"A pair of texts is to be read, but {ONE_SEGMENT_TYPE}")
    inputs = ArgsKwargs(args=(batch, model.attrs["top_k"]), kwargs={})
    results = {key: value.cpu().numpy() for key, value in shim_of(model).predict(inputs).items()}
    if not np.isfinite(results["logits"]).all():  # a NaN counts as the largest, so it is here
        raise FloatingPointError(
            "The logits of the masked-LM head are not finite: the weights are spoilt, by a training "
            "that diverged or a damaged file. Load another checkpoint."
        )
    ends = np.cumsum([0, *map(len, batch.offsets)]).tolist()
    predictions = [
        MaskPredictions(
            offsets,
            results["ids"][start:end].astype(np.int32),
            results["logits"][start:end],
            results["probabilities"][start:end],
        )
        for offsets, start, end in zip(batch.offsets, ends, ends[1:])
    ]
    return predictions, _no_gradient


def _no_gradient(d_predictions: object) -> list:
    return []
