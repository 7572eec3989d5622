"""The factories, registered with spaCy.

`spacy.blank` loads this module for every user of spaCy who has this package installed, whether
they use it or not: it imports nothing heavy, and each factory imports its component when called.
"""

from typing import TYPE_CHECKING, Any, Callable, List, Literal, Optional

from spacy.language import Language

if TYPE_CHECKING:
    from spacy.tokens import Doc
    from thinc.api import Model

    from .bert import Bert
    from .bert_ner import BertNER
    from .fill_mask import FillMask
    from .segments import Segments
    from .span_qa import SpanQA
    from .text_regressor import TextRegressor

DEFAULT_BERT = {"@architectures": "spacy-bert.Bert.v1"}
DEFAULT_TOKEN_CLASSIFIER = {
    "@architectures": "spacy-bert.BertTokenClassifier.v1",
    "tok2vec": {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 768},
}
DEFAULT_REGRESSOR = {
    "@architectures": "spacy-bert.BertRegressor.v1",
    "tok2vec": {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 768},
}
DEFAULT_SPAN_QA = {
    "@architectures": "spacy-bert.BertSpanQA.v1",
    "tok2vec": {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 768},
}
DEFAULT_MASKED_LM = {"@architectures": "spacy-bert.BertMaskedLM.v1"}


@Language.factory(
    "bert",
    assigns=["doc.tensor", "doc._.bert"],
    default_config={"model": DEFAULT_BERT, "set_tensor": True, "keep": [], "inference": "fp32"},
)
def make_bert(
    nlp: Language,
    name: str,
    model: "Model[List[Doc], Any]",
    set_tensor: bool,
    keep: List[str],
    inference: Literal["fp32", "bf16", "int8", "auto"],
) -> "Bert":
    """The shared encoder; see spacy_bert.pipeline.bert.Bert."""
    from .bert import Bert
    from .rivals import Home

    bert = Bert(nlp.vocab, model, name, set_tensor=set_tensor, keep=keep, inference=inference)
    bert.rivals.home = Home(nlp)
    return bert


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
    "text_regressor",
    assigns=["doc._.score"],
    default_config={
        "model": DEFAULT_REGRESSOR,
        "scorer": {"@scorers": "spacy-bert.text_regressor_scorer.v1"},
    },
    default_score_weights={"score_pearson": 0.5, "score_spearman": 0.5},
)
def make_text_regressor(
    nlp: Language, name: str, model: "Model[List[Doc], Any]", scorer: Optional[Callable]
) -> "TextRegressor":
    """Predicts a number for each text; see spacy_bert.pipeline.text_regressor.TextRegressor."""
    from .text_regressor import TextRegressor

    return TextRegressor(nlp.vocab, model, name, scorer=scorer)


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


@Language.factory(
    "span_qa",
    assigns=["doc.spans"],
    default_config={
        "model": DEFAULT_SPAN_QA,
        "n_best": 20,
        "max_answer_pieces": 30,
        "null_threshold": 0.0,
        "scorer": {"@scorers": "spacy-bert.qa_scorer.v1"},
    },
    default_score_weights={"qa_f1": 1.0, "qa_exact": 0.0},
)
def make_span_qa(
    nlp: Language,
    name: str,
    model: "Model[List[Doc], Any]",
    n_best: int,
    max_answer_pieces: int,
    null_threshold: Optional[float],
    scorer: Optional[Callable],
) -> "SpanQA":
    """Finds answers to questions; see spacy_bert.pipeline.span_qa.SpanQA."""
    from .span_qa import SpanQA

    return SpanQA(
        nlp.vocab,
        model,
        name,
        n_best=n_best,
        max_answer_pieces=max_answer_pieces,
        null_threshold=null_threshold,
        scorer=scorer,
    )
