"""`spacy-bert.LoadCheckpoint.v1`: weights for encoders that spaCy does not initialise."""

from typing import Callable, List, Optional

from spacy.language import Language
from thinc.api import Model

from ..encoder import load_checkpoint
from ..layers.doc_encoder import has_encoder, is_loaded
from ..layers.weights import load_weights


def LoadCheckpoint(
    checkpoint: str, revision: Optional[str] = None, components: Optional[List[str]] = None
) -> Callable[[Language], Language]:
    """A callback for `[initialize.before_init]`: gives frozen and inlined encoders their weights.

    checkpoint (str): Folder or hub id of a BERT in HuggingFace's format.
    revision (Optional[str]): Revision of the hub id.
    components (Optional[List[str]]): Components to load; all that hold an encoder if not given.
    RETURNS (Callable[[Language], Language]): Loads the weights of encoders that have none yet. It
        raises a ValueError if a listed component has no encoder of its own, or none has.
    """

    def load(nlp: Language) -> Language:
        # `components`, unlike `pipeline`, has the frozen ones too, which are disabled meanwhile.
        pipes = {name: getattr(pipe, "model", None) for name, pipe in nlp.components}
        models = {n: m for n, m in pipes.items() if isinstance(m, Model) and has_encoder(m)}
        wrong = [name for name in components or () if name not in models]
        if wrong or not models:
            found = f"components lists {wrong[0]!r}" if wrong else "there is nothing to load"
            raise ValueError(
                f"LoadCheckpoint: {found}, but of {', '.join(pipes) or 'no components'}, "
                f"{', '.join(models) or 'none'} has a BERT encoder of its own. List those, or add "
                f"a `bert` component, or a head with BertTok2Vec or BertPooled inside."
            )
        chosen = [models[name] for name in components or models]
        empty = [model for model in chosen if not is_loaded(model)]
        if empty:
            loaded = load_checkpoint(checkpoint, revision=revision)
            for model in empty:
                load_weights(model, loaded)
        return nlp

    return load
