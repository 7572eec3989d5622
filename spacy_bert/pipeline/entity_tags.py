"""Between Docs and the tags of their entities: gold tags, where entities may be, and writing them down."""

import warnings
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from spacy.attrs import ENT_IOB, ENT_TYPE, IS_SPACE, SENT_START
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from ..decoding import SCHEMES, Entities, TagScores, forbid

# What spaCy's ENT_IOB says of a token. BEGIN without a label means that it must be in no entity.
INSIDE, BEGIN = 1, 3


class DocEntities(NamedTuple):
    """What was predicted for one Doc.

    entities (Entities): The entities, in tokens of the Doc.
    scores (Optional[np.ndarray]): How probable each is, shape (n_entities,), if that was asked for.
    """

    entities: Entities
    scores: Optional[np.ndarray]


def no_entities(*, scored: bool) -> DocEntities:
    """scored (bool): Whether scores are asked for.
    RETURNS (DocEntities): What is predicted for a Doc without tokens."""
    none = np.zeros(0, dtype=np.int64)
    return DocEntities(Entities(none, none, none), np.zeros(0) if scored else None)


def tag_columns(labels: Sequence[str], scheme: str) -> Dict[str, int]:
    """labels (Sequence[str]): The labels, in the order of the model's output.
    scheme (str): "biluo" or "bio".
    RETURNS (Dict[str, int]): The column of each BILUO tag; in "bio", L is I and U is B."""
    tags = SCHEMES[scheme]
    places = {tag: tags.index(tag) for tag in tags}
    places = {"L": places["I"], "U": places["B"], **places}
    columns = {
        f"{tag}-{label}": 1 + i * len(tags) + place
        for i, label in enumerate(labels)
        for tag, place in places.items()
    }
    return {"O": 0, **columns}


def gold_columns(example: Example, columns: Dict[str, int]) -> np.ndarray:
    """The right tags of the predicted Doc's tokens. As with spaCy's `ner`, a tag is unknown where the
    annotation is missing, and where an entity's borders lie within tokens.

    example (Example): The Doc, and its annotation.
    columns (Dict[str, int]): What `tag_columns` returns.
    RETURNS (np.ndarray): The column of each token's tag, -1 where it is unknown, shape (n_tokens,).
    RAISES: ValueError for a label that is not among the columns.
    """
    entities, tags = example.get_aligned_ents_and_ner()
    padded = [ent for ent in entities if ent[0].is_space or ent[-1].is_space]
    if padded:
        warnings.warn(
            f"An entity starts or ends with whitespace: {padded[0].text!r} in the Doc "
            f"{example.x.text[:60]!r}. None is ever predicted there, so it is not learned from. "
            f"Trim the entities of the training data.",
            stacklevel=2,
        )
    result = np.full(len(tags), -1, dtype=np.int64)
    for i, tag in enumerate(tags):
        if tag not in (None, "", "-"):
            if tag not in columns:
                known = sorted({name.split("-", 1)[1] for name in columns if name != "O"})
                raise ValueError(
                    f"The Doc {example.x.text[:60]!r} has an entity of label "
                    f"{tag.split('-', 1)[-1]!r}, but the labels are {', '.join(known) or 'none'}. "
                    f"Add it with add_label, or name all labels when initialising "
                    f"(`spacy init labels`)."
                )
            result[i] = columns[tag]
    for ent in padded:
        result[ent.start : ent.end] = -1
    return result


def where_possible(scores: TagScores, docs: Sequence[Doc]) -> TagScores:
    """Rule out entities where spaCy's `ner` allows none: over entities that a Doc has already, over
    tokens that were blocked, across borders of sentences, and with whitespace at an end.

    scores (TagScores): Scores of tags, all Docs one behind the other.
    docs (Sequence[Doc]): The Docs.
    RETURNS (TagScores): The scores, with -inf where no entity may be.
    """
    facts = [doc.to_array([ENT_IOB, SENT_START, IS_SPACE]).reshape(-1, 3) for doc in docs]
    iob, sent_start, is_space = np.concatenate(facts).T
    ends = np.cumsum([len(doc) for doc in docs])
    final = np.append(sent_start[1:] == 1, True)
    final[ends[ends > 0] - 1] = True
    return forbid(scores, taken=(iob == INSIDE) | (iob == BEGIN), spaces=is_space == 1, final=final)


def per_doc(
    entities: Entities, scores: Optional[np.ndarray], docs: Sequence[Doc]
) -> List[DocEntities]:
    """entities (Entities): Entities, in tokens counted over all Docs.
    scores (Optional[np.ndarray]): How probable each is.
    docs (Sequence[Doc]): The Docs.
    RETURNS (List[DocEntities]): The same by Doc."""
    results, first = [], 0
    bounds = np.searchsorted(entities.starts, np.cumsum([0, *map(len, docs)])).tolist()
    for doc, start, end in zip(docs, bounds, bounds[1:]):
        starts, ends, labels = (values[start:end] for values in entities)
        part = None if scores is None else scores[start:end]
        results.append(DocEntities(Entities(starts - first, ends - first, labels), part))
        first += len(doc)
    return results


def write_entities(
    doc: Doc, found: DocEntities, labels: Sequence[str], spans_key: Optional[str]
) -> None:
    """Add entities to those that a Doc has. In place.

    doc (Doc): The Doc.
    found (DocEntities): The entities.
    labels (Sequence[str]): The labels that they are numbered by.
    spans_key (Optional[str]): Where in `doc.spans` to put them with their scores.
    """
    starts, ends, numbers = (values.tolist() for values in found.entities)
    spans = [Span(doc, a, b, label=labels[n]) for a, b, n in zip(starts, ends, numbers)]
    iob, types = doc.to_array([ENT_IOB, ENT_TYPE]).reshape(-1, 2).T
    there = {_key(ent): ent for ent in doc.ents} if (iob == BEGIN).any() else {}
    # Where a prediction is written a second time, its entities are there, perhaps linked meanwhile.
    spans = [there.pop(_key(span), span) for span in spans]
    earlier = list(there.values())
    blocked = [doc[i : i + 1] for i in np.flatnonzero((iob == BEGIN) & (types == 0)).tolist()]
    doc.set_ents([*earlier, *spans], blocked=blocked)
    if spans_key is None or found.scores is None:
        return
    scored = list(zip(spans, found.scores.tolist()))
    if earlier and spans_key in doc.spans:
        # A Doc that comes a second time keeps the scores of the entities that it kept.
        old = doc.spans[spans_key]
        kept = {_key(span) for span in earlier}
        scored += [pair for pair in zip(old, old.attrs.get("scores", ())) if _key(pair[0]) in kept]
        scored.sort(key=lambda pair: pair[0].start)
    group = SpanGroup(doc, name=spans_key, spans=[span for span, _ in scored])
    group.attrs["scores"] = np.array([score for _, score in scored], dtype="f")
    doc.spans[spans_key] = group


def _key(span: Span) -> Tuple[int, int, int]:
    """What makes it the same entity: it may have been linked to a knowledge base since."""
    return span.start, span.end, span.label
