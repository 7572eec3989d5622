"""The factories, registered with spaCy.

`spacy.blank` loads this module for every user of spaCy who has this package installed, whether
they use it or not: it imports nothing heavy, and each factory imports its component when called.
"""

from typing import TYPE_CHECKING, Any, Callable, List, Optional

from spacy.language import Language

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from thinc.api import Model

    from .bert import Bert
    from .bert_ner import BertNER
    from .fill_mask import FillMask
    from .segments import Segments

DEFAULT_BERT = {"@architectures": "spacy-bert.Bert.v1"}
DEFAULT_TOKEN_CLASSIFIER = {
    "@architectures": "spacy-bert.BertTokenClassifier.v1",
    "tok2vec": {"@architectures": "spacy-bert.BertListener.v1", "width": 768},
}
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


@Language.factory(
    "bert_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type", "doc.spans"],
    default_config={
        "model": DEFAULT_TOKEN_CLASSIFIER,
        "scheme": "biluo",
        "label_smoothing": 0.0,
        "spans_key": "bert_ner",
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def make_bert_ner(
    nlp: Language,
    name: str,
    model: "Model[List[Doc], Any]",
    scheme: str,
    label_smoothing: float,
    spans_key: Optional[str],
    scorer: Optional[Callable],
) -> "BertNER":
    """BERT's entity recogniser; see spacy_bert.pipeline.bert_ner.BertNER."""
    from .bert_ner import BertNER

    return BertNER(
        nlp.vocab,
        model,
        name,
        scheme=scheme,
        label_smoothing=label_smoothing,
        spans_key=spans_key,
        scorer=scorer,
    )
