"""What can be seen to go wrong in training, from the pipeline as a whole: told before it does."""

import warnings
from typing import Any, Dict, Iterable, Optional, Sequence

from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Model

from ..layers.listeners import BertListenerModel
from ..segments import SPANS_KEY
from .listened_to import ListenedTo
from .rivals import Home


def check_upstreams(nlp: Language) -> None:
    """nlp (Language): A pipeline.
    RAISES: ValueError if a component listens to an encoder that is not there, or stands before it."""
    ours: Dict[str, int] = {}  # encoder -> its place
    heads = []
    for place, (name, pipe) in enumerate(nlp.components):
        if isinstance(pipe, ListenedTo):
            ours[name] = place
        if isinstance(model := getattr(pipe, "model", None), Model):
            nodes = (node for node in model.walk() if isinstance(node, BertListenerModel))
            heads += [(name, place, node.upstream) for node in nodes]
    for name, place, upstream in heads:
        if upstream not in ("*", *ours):
            raise ValueError(
                f"The component '{name}' listens to '{upstream}', but the encoders of this pipeline are "
                f"{', '.join(map(repr, ours))}. Name one of them as upstream in the section of its listener."
            )
        if place < (ours[upstream] if upstream in ours else min(ours.values(), default=0)):
            encoder = f"'{upstream}'" if upstream in ours else "any encoder"
            raise ValueError(
                f"The component '{name}' stands before {encoder}, to which it listens. Put it behind: the "
                f"order is that of [nlp] pipeline."
            )


def warn_of_warm_up(nlp: Language) -> None:
    """Warn if all steps of a training are its warm-up.

    nlp (Language): A pipeline, with its config.
    """
    training = nlp.config.interpolate().get("training", {})
    max_steps = training.get("max_steps")
    rate: Any = (training.get("optimizer") or {}).get("learn_rate")
    warm_up = rate.get("warmup_steps") if isinstance(rate, dict) else None
    if isinstance(max_steps, int) and isinstance(warm_up, int) and 0 < max_steps <= warm_up:
        warnings.warn(
            f"[training] has max_steps = {max_steps}, and the learning rate rises for {warm_up} steps: all "
            f"of the training is warm-up. Set total_steps and warmup_steps of [training.optimizer."
            f"learn_rate] instead, as --training.optimizer.learn_rate.total_steps {max_steps}: in configs of "
            f"init-config, max_steps follows it.",
            stacklevel=3,
        )


def unmarked_pair(home: Home, docs: Sequence[Doc]) -> Optional[str]:
    """home (Home): The pipeline, if it is known.
    docs (Sequence[Doc]): Docs that are trained on.
    RETURNS (Optional[str]): What to warn of, if they are pairs to the pipeline, and not marked as such."""
    separators = [p.separator for p in home.enabled() if hasattr(p, "marks_segments")]
    for doc in docs if separators else ():
        if SPANS_KEY not in doc.spans and _is_pair(doc.text, separators):
            return (
                f"The Doc {doc.text[:60]!r} is trained on as a single text; in prediction, the component "
                f'`segments` makes it a pair. List "segments" in annotating_components.'
            )
    return None


def _is_pair(text: str, separators: Iterable[str]) -> bool:
    # Without a second text, it is read as the single text that it is.
    return any(text.partition(separator)[2].strip() for separator in separators)
