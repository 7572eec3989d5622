"""The factories, registered with spaCy.

`spacy.blank` loads this module for every user of spaCy who has this package installed, whether
they use it or not: it imports nothing heavy, and each factory imports its component when called.
"""

from typing import TYPE_CHECKING, Any, List

from spacy.language import Language

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from thinc.api import Model

    from .bert import Bert
    from .fill_mask import FillMask
    from .segments import Segments

DEFAULT_BERT = {"@architectures": "spacy-bert.Bert.v1"}
DEFAULT_MASKED_LM = {"@architectures": "spacy-bert.BertMaskedLM.v1"}


@Language.factory(
    "bert",
    assigns=["doc.tensor", "doc._.bert"],
    default_config={"model": DEFAULT_BERT, "set_tensor": True, "keep": []},
)
def make_bert(
    nlp: Language,
    name: str,
    model: "Model[List[Doc], Any]",
    set_tensor: bool,
    keep: List[str],
) -> "Bert":
    """The shared encoder; see spacy_bert.pipeline.bert.Bert."""
    from .bert import Bert

    return Bert(nlp.vocab, model, name, set_tensor=set_tensor, keep=keep)


@Language.factory("segments", assigns=["doc.spans"], default_config={"separator": "\n\n"})
def make_segments(nlp: Language, name: str, separator: str) -> "Segments":
    """Marks the two texts of a pair; see spacy_bert.pipeline.segments.Segments."""
    from .segments import Segments

    return Segments(name, separator=separator)


@Language.factory(
    "fill_mask",
    assigns=["doc._.fill_mask"],
    default_config={"model": DEFAULT_MASKED_LM, "top_k": 5},
)
def make_fill_mask(
    nlp: Language, name: str, model: "Model[List[Doc], Any]", top_k: int
) -> "FillMask":
    """Ranks pieces for each mask; see spacy_bert.pipeline.fill_mask.FillMask."""
    from .fill_mask import FillMask

    return FillMask(nlp.vocab, model, name, top_k=top_k)
