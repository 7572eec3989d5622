"""`spacy-bert.LoadCheckpoint.v1`: weights for encoders that spaCy does not initialise."""

from typing import Callable, List, Optional

from spacy.language import Language
from thinc.api import Model

from ..encoder import load_checkpoint
from ..layers.doc_encoder import has_encoder, is_loaded, load_weights


def LoadCheckpoint(
    checkpoint: str, revision: Optional[str] = None, components: Optional[List[str]] = None
) -> Callable[[Language], Language]:
    """A callback for `[initialize.before_init]`: gives frozen and inlined encoders their weights.

    checkpoint (str): Folder or hub id of a BERT in HuggingFace's format.
    revision (Optional[str]): Revision of the hub id.
    components (Optional[List[str]]): Components to load; all that hold an encoder if not given.
    RETURNS (Callable[[Language], Language]): Loads the weights of encoders that have none yet.
    """

    def load(nlp: Language) -> Language:
        # `components`, unlike `pipeline`, has the frozen ones too, which are disabled meanwhile.
        pipes = dict(nlp.components)
        unknown = [name for name in components or () if name not in pipes]
        if unknown:
            raise ValueError(
                f"LoadCheckpoint: components lists {unknown[0]!r}, but the pipeline has "
                f"{', '.join(pipes) or 'no components'}."
            )
        models = {
            name: pipe.model
            for name, pipe in pipes.items()
            if isinstance(getattr(pipe, "model", None), Model) and has_encoder(pipe.model)
        }
        chosen = [models[name] for name in components or models if name in models]
        if not chosen:
            raise ValueError(
                f"LoadCheckpoint: none of {', '.join(components or pipes)} holds a BERT encoder. "
                f"Add a `bert` component, or a head with BertTok2Vec or BertPooled inside."
            )
        empty = [model for model in chosen if not is_loaded(model)]
        if empty:
            loaded = load_checkpoint(checkpoint, revision=revision)
            for model in empty:
                load_weights(model, loaded)
        return nlp

    return load
