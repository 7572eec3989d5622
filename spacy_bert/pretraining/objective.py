"""The network that is trained, and its losses: encoder, pooler, masked-LM and next-sentence heads.

Loss = mean cross entropy of the masked pieces + mean cross entropy of "is B next?" (Devlin et al.
2018, appendix A.2), each mean over all that a step reads, however it is cut into batches.
"""

from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..encoder import (
    BertConfig,
    BertEncoder,
    Checkpoint,
    MaskedLMHead,
    NextSentenceHead,
    Pooler,
    initialize_weights,
)
from ..encoder.packing import TRAINING_ROWS, fill
from ..wordpiece import WordPieceTokenizer
from .batches import PretrainingBatch
from .cross_entropy import linear_cross_entropy

# What is counted, in the order of a tally.
COUNTS = ("mlm_loss", "mlm_correct", "mlm_count", "nsp_loss", "nsp_correct", "nsp_count")


class Totals(NamedTuple):
    """What the means of a step are over.

    n_masked (int): Masked pieces of all its batches.
    n_seqs (int): Sequences of all its batches.
    """

    n_masked: int
    n_seqs: int

    @classmethod
    def of(cls, batches: Sequence[PretrainingBatch]) -> "Totals":
        """batches (Sequence[PretrainingBatch]): The batches of a step.
        RETURNS (Totals): Of them all, known without asking a device."""
        return cls(
            sum(len(batch.masked_rows) for batch in batches),
            sum(batch.pieces.n_seqs for batch in batches),
        )


class PretrainingModel(nn.Module):
    """Encoder and heads.

    config (BertConfig): The sizes.
    nsp (bool): Whether there is next-sentence prediction, and so a pooler.
    causal (bool): Whether a row sees only what is left of it.
    """

    def __init__(self, config: BertConfig, *, nsp: bool, causal: bool = False) -> None:
        super().__init__()
        # Written into the checkpoint, so that whoever opens it reads as it was trained.
        config = config.replace(causal=causal)
        self.config, self.causal = config, causal
        self.encoder = BertEncoder(config)
        self.mlm = MaskedLMHead(config)
        self.pooler = Pooler(config) if nsp else None
        self.nsp = NextSentenceHead(config) if nsp else None
        initialize_weights(self, std=config.initializer_range)

    def forward(self, batch: PretrainingBatch, totals: Totals) -> Tuple[Tensor, Tensor]:
        """What a batch adds to the loss of its step.

        batch (PretrainingBatch): A batch of the step.
        totals (Totals): What the means are over.
        RETURNS (Tuple[Tensor, Tensor]): Its part of the loss, and a tally of it: the sums of
            `COUNTS`, shape (6,), float64, without gradient. A batch without masked pieces counts
            with its sentences only.
        """
        pieces = batch.pieces
        # The rows of what fills it up are behind the others, and not read.
        rows = self.encoder(fill(pieces, TRAINING_ROWS), causal=self.causal)  # (n_rows, width)
        scale = 1.0 / max(1, totals.n_masked)
        # index_select: the gradient of indexing with a tensor is a slow, general scatter.
        masked = self.mlm.transformed(rows.index_select(0, batch.masked_rows))
        decoder = self.encoder.embeddings.pieces.weight
        loss, correct = linear_cross_entropy(
            masked, decoder, self.mlm.bias, batch.masked_ids, scale=scale
        )
        n_masked = loss.new_full((), len(batch.masked_rows))
        tally = [loss.detach() / scale, correct, n_masked]
        if self.pooler is not None and self.nsp is not None:
            cls_rows = rows.index_select(0, pieces.cu_seqlens[:-1].long())
            logits = self.nsp(self.pooler(cls_rows)).float()  # (n_seqs, 2)
            nsp_loss = F.cross_entropy(logits, batch.not_next, reduction="sum")
            loss = loss + nsp_loss / max(1, totals.n_seqs)
            right = (logits.argmax(1) == batch.not_next).sum()
            tally += [nsp_loss.detach(), right, loss.new_full((), pieces.n_seqs)]
        else:
            tally += [torch.zeros_like(n_masked)] * 3
        return loss, torch.stack([value.to(torch.float64) for value in tally])

    def parts(self) -> Dict[str, nn.Module]:
        """RETURNS (Dict[str, nn.Module]): The parts that are there, by the names of a checkpoint."""
        return dict(self.named_children())

    def load(self, checkpoint: Checkpoint) -> Tuple[List[str], List[str]]:
        """Take over weights, in place.

        checkpoint (Checkpoint): A checkpoint of the same sizes.
        RETURNS (Tuple[List[str], List[str]]): Which parts it lacks, so that they stay random; and
            which it has that are not trained here.
        """
        missing = []
        for name, part in self.parts().items():
            if name in checkpoint.parts:
                part.load_state_dict(checkpoint.part(name))
            else:
                missing.append(name)
        return missing, sorted(checkpoint.parts - set(self.parts()))

    def to_checkpoint(self, tokenizer: Optional[WordPieceTokenizer], source: str) -> Checkpoint:
        """tokenizer (Optional[WordPieceTokenizer]): The vocabulary.
        source (str): Where it comes from.
        RETURNS (Checkpoint): The weights, not copied."""
        return Checkpoint(self.config, tokenizer, dict(self.state_dict()), source)


def masked_logits(model: PretrainingModel, batch: PretrainingBatch) -> Tensor:
    """model (PretrainingModel): The network.
    batch (PretrainingBatch): A batch.
    RETURNS (Tensor): Scores of all pieces at the masked rows, shape (n_masked, vocab_size)."""
    rows = model.encoder(batch.pieces, causal=model.causal)
    return model.mlm(rows[batch.masked_rows], model.encoder.embeddings.pieces.weight)
