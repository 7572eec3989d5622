"""The network that a run trains: with random weights, or a checkpoint's, or of the sizes of a saved state."""

from typing import List, Optional, Tuple

import torch

from ..encoder import BertConfig, Checkpoint, load_checkpoint
from .config import PretrainConfig, check_length
from .objective import PretrainingModel
from .store import TokenStore


def build_model(
    config: PretrainConfig, store: TokenStore, *, sizes: Optional[BertConfig] = None
) -> Tuple[PretrainingModel, List[str]]:
    """The network to train, on the CPU, with random weights or those of a checkpoint.

    config (PretrainConfig): What is asked for.
    store (TokenStore): The text; its vocabulary decides the rows of the embedding.
    sizes (Optional[BertConfig]): Of the saved state that is to be loaded. The checkpoint that the run
        was begun with is not needed then, and may be gone.
    RETURNS (Tuple[PretrainingModel, List[str]]): The network, and what should be said about it.
    RAISES (ValueError): The checkpoint has another vocabulary, or other sizes.
    """
    base: Optional[Checkpoint] = None
    if sizes is None and config.paths.checkpoint is not None:
        base = load_checkpoint(config.paths.checkpoint)
        assert base.tokenizer is not None
        if base.tokenizer != store.tokenizer:
            raise ValueError(
                f"The checkpoint {base.source} has another vocabulary ({len(base.tokenizer):,} "
                f"pieces) than the store {store.path} ({len(store.tokenizer):,} pieces), so the "
                f"ids of one mean other pieces in the other. Prepare the text with the "
                f"checkpoint's: prepare --vocab {base.source}"
            )
    if sizes is None:
        sizes = config.encoder.sizes(len(store.tokenizer), None if base is None else base.config)
    for key, length in zip(("max_length", "final_length"), config.lengths):
        check_length(key, length, sizes.max_positions)
    if config.objective.nsp and sizes.type_vocab_size < 2:
        raise ValueError(
            f"Next-sentence prediction needs two segment types, but the checkpoint has "
            f"{sizes.type_vocab_size}. Set nsp = false under [objective]."
        )
    torch.manual_seed(config.training.seed)
    model = PretrainingModel(sizes, nsp=config.objective.nsp, causal=config.objective.causal)
    model.encoder.gradient_checkpointing = config.training.gradient_checkpointing
    remarks = []
    steps, warmup = config.training.max_steps, config.optimizer.warmup_steps
    if steps is not None and warmup >= steps:
        remarks.append(
            f"The run of {steps:,} steps ends before its warm-up of {warmup:,} steps is over, so that the "
            f"rate only rises. Lower optimizer.warmup_steps if that is not wanted."
        )
    if base is not None and base.config.causal and not config.objective.causal:
        remarks.append(
            f"{base.source} reads from left to right, and learns to read both ways from here on. Set "
            f"causal = true under [objective] if it shall not."
        )
    if base is not None:
        missing, left_out = model.load(base)
        remarks.append(f"Goes on from {base.source}.")
        if missing:
            remarks.append(f"It has no {', '.join(missing)}: random weights are used.")
        if left_out:
            remarks.append(f"Its {', '.join(left_out)} is not trained here, and left out.")
    return model, remarks
