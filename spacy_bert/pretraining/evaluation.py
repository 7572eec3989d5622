"""How well held-out documents are told: losses, accuracies, and gaps filled in for people to read.

The same pairs and masks at every evaluation, so that its figures can be compared; no random number
of torch's is drawn, so that evaluating does not change the run.
"""

import math
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import numpy as np
import torch
from torch import Tensor

from ..encoder import pack
from ..wordpiece import WordPieceTokenizer
from .batches import PretrainingBatch, PretrainingStream
from .config import PretrainConfig
from .feed import to_device
from .objective import COUNTS, PretrainingModel, Totals
from .randomness import generator
from .store import TokenStore

# The purpose of a draw, unlike those of streams.
_SAMPLES = 0x5A3B1E5
PREDICTIONS = 5  # of each gap
SHORTEST, LONGEST = 6, 40  # pieces of a sentence that is shown


class Gap(NamedTuple):
    """A sentence with a gap.

    ids (List[int]): Its pieces, specials included, with [MASK] in the gap.
    row (int): The row that tells the piece.
    text (str): The same as text.
    answer (str): The piece that was there.
    """

    ids: List[int]
    row: int
    text: str
    answer: str


class Evaluation:
    """Evaluates on held-out documents.

    store (TokenStore): The text.
    documents (np.ndarray): Those that are held out, shape (n_documents, 2).
    config (PretrainConfig): Of the run.
    """

    def __init__(self, store: TokenStore, documents: np.ndarray, config: PretrainConfig) -> None:
        self._store, self._documents, self._config = store, documents, config
        self._batches: Optional[List[PretrainingBatch]] = None
        if config.training.eval_pieces:
            self._batches = list(self._read())
        self._gaps = choose_gaps(
            store,
            documents,
            config.logging.samples,
            seed=config.training.seed,
            causal=config.objective.causal,
        )

    def __call__(
        self,
        model: PretrainingModel,
        *,
        autocast: Callable[[], Any],
        stopping: Callable[[], bool] = lambda: False,
    ) -> Optional[Dict[str, Any]]:
        """Evaluate. The model is in training mode before and after.

        model (PretrainingModel): The network.
        autocast (Callable): Makes the context that sets the precision.
        stopping (Callable[[], bool]): Whether to give up.
        RETURNS (Optional[Dict[str, Any]]): What metrics.jsonl says of it; None if it gave up.
        """
        device = next(model.parameters()).device
        tally = torch.zeros(len(COUNTS), dtype=torch.float64, device=device)
        # Of each piece, how often it was masked: what the baseline can know.
        counts = torch.zeros(model.config.vocab_size, dtype=torch.int64, device=device)
        n_not_next = torch.zeros((), dtype=torch.int64, device=device)
        model.eval()
        try:
            with torch.no_grad():
                for batch in self._batches if self._batches is not None else self._read():
                    if stopping():
                        return None
                    batch = to_device(batch, device)
                    with autocast():
                        tally += model(batch, Totals.of([batch]))[1]
                    counts += torch.bincount(batch.masked_ids, minlength=len(counts))
                    n_not_next += batch.not_next.sum()
                with autocast():
                    samples = [self._fill(model, gap, device) for gap in self._gaps]
        finally:
            model.train()
        most_frequent = int(counts[self._store.manifest.most_frequent_id])
        extra = _extra(tally, most_frequent, int(n_not_next))
        return {**means(tally), **extra, "samples": samples}

    def _read(self) -> Iterator[PretrainingBatch]:
        config, n_pieces = self._config, 0
        stream = PretrainingStream(
            self._store,
            self._documents,
            objective=config.objective,
            # As long as the run ends with: that is what it is to become good at.
            max_length=config.lengths[1],
            batch_pieces=config.training.batch_pieces,
            seed=config.training.seed,
            epochs=1,
        )
        for batch in stream:
            yield batch
            n_pieces += len(batch.pieces.ids)
            if 0 < config.training.eval_pieces <= n_pieces:
                break

    def _fill(self, model: PretrainingModel, gap: Gap, device: torch.device) -> Dict[str, Any]:
        pieces = pack([np.array(gap.ids)]).to(device)
        row = model.encoder(pieces, causal=model.causal)[gap.row : gap.row + 1]
        logits = model.mlm(row, model.encoder.embeddings.pieces.weight)
        names = self._store.tokenizer.pieces
        # An embedding may have more rows than the vocabulary has pieces.
        found = torch.softmax(logits[0, : len(names)].float(), 0).topk(min(PREDICTIONS, len(names)))
        return {
            "text": gap.text,
            "answer": gap.answer,
            "predictions": [
                [names[piece], round(share, 4)]
                for share, piece in zip(found.values.tolist(), found.indices.tolist())
            ],
        }


def means(tally: Tensor) -> Dict[str, Optional[float]]:
    """tally (Tensor): Sums of `COUNTS`, shape (6,).
    RETURNS (Dict[str, Optional[float]]): Mean losses and accuracies; None of what there is none."""
    sums = dict(zip(COUNTS, tally.tolist()))
    result: Dict[str, Optional[float]] = {}
    for task in ("mlm", "nsp"):
        count = sums[f"{task}_count"]
        result[f"{task}_loss"] = sums[f"{task}_loss"] / count if count else None
        result[f"{task}_accuracy"] = sums[f"{task}_correct"] / count if count else None
    return result


def _extra(tally: Tensor, most_frequent: int, n_not_next: int) -> Dict[str, Optional[float]]:
    """Baselines: what always the same answer gets right."""
    loss, _, count = tally[:3].tolist()
    n_pairs = tally[5].item()
    return {
        "mlm_perplexity": math.exp(min(loss / count, 700.0)) if count else None,
        "mlm_baseline": most_frequent / count if count else None,
        "nsp_baseline": max(n_not_next, n_pairs - n_not_next) / n_pairs if n_pairs else None,
    }


def score_of(result: Dict[str, Any]) -> float:
    """result (Dict[str, Any]): Of an evaluation.
    RETURNS (float): What the best checkpoint has the least of."""
    return (result["mlm_loss"] or 0.0) + (result["nsp_loss"] or 0.0)


def choose_gaps(
    store: TokenStore, documents: np.ndarray, n: int, *, seed: int, causal: bool
) -> List[Gap]:
    """Sentences of held-out documents, each with one whole word left out.

    store (TokenStore): The text.
    documents (np.ndarray): First sentence and end of each document, shape (n_documents, 2).
    n (int): How many.
    seed (int): Decides which.
    causal (bool): Whether the gap is the end of what is shown.
    RETURNS (List[Gap]): As many, or fewer if there are no more.
    """
    draws, tokenizer = generator(seed, _SAMPLES), store.tokenizer
    names = tokenizer.pieces
    sentences = np.concatenate([np.arange(first, end) for first, end in documents])
    gaps: List[Gap] = []
    for sentence in draws.permutation(sentences).astype(np.int64)[: 100 * n]:
        begin, end = store.sentence_offsets[sentence : sentence + 2]
        ids = store.pieces[begin:end].astype(np.int64).tolist()
        if len(gaps) == n or not SHORTEST <= len(ids) <= LONGEST:
            continue
        words = [
            index
            for index in range(2, len(ids))
            if names[ids[index]].isalpha()
            and not (index + 1 < len(ids) and names[ids[index + 1]].startswith("##"))
        ]
        if not words:
            continue
        gap = int(draws.choice(words))
        answer = names[ids[gap]]
        shown = ids[:gap] if causal else [*ids[:gap], tokenizer.mask_id, *ids[gap + 1 :]]
        text = as_text(tokenizer, [*ids[:gap], tokenizer.mask_id] if causal else shown)
        gaps.append(
            Gap(
                [tokenizer.cls_id, *shown, tokenizer.sep_id],
                gap if causal else gap + 1,
                text,
                answer,
            )
        )
    return gaps


def as_text(tokenizer: WordPieceTokenizer, ids: List[int]) -> str:
    """tokenizer (WordPieceTokenizer): The vocabulary.
    ids (List[int]): Pieces.
    RETURNS (str): Them as text, words apart."""
    return " ".join(tokenizer.pieces[piece] for piece in ids).replace(" ##", "")
