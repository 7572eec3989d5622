"""Toy questions that a tiny BERT learns in seconds: who, where, and what a text does not say."""

from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

from spacy.training import Example
from thinc.api import fix_random_seed

import spacy_bert
from spacy_bert.answers import Answer, set_answers
from spacy_bert.layers.optimizer import AdamW

LISTENER = {"@architectures": "spacy-bert.BertPieceListener.v1", "width": 32}
PEOPLE, CITIES = ("alice", "bob", "carol"), ("paris", "london", "berlin")


def make_qa(checkpoint: Path, *, segments: bool = True, model: Any = None, **config: Any) -> Any:
    """A pipeline of `segments`, `bert` and `span_qa`; not initialised."""
    settings = {"window": 48, "stride": 16, **(model or {})}
    nlp = spacy_bert.from_checkpoint(checkpoint, config={"model": settings})
    if segments:
        nlp.add_pipe("segments", first=True)
    nlp.add_pipe("span_qa", config={"model": {"tok2vec": LISTENER}, **config})
    return nlp


def questions() -> Iterator[Tuple[str, str, Optional[str]]]:
    """Question, context and answer."""
    for person in PEOPLE:
        for city in CITIES:
            context = f"{person} lives in {city}."
            yield "who lives?", context, person
            yield "lives in the?", context, city
            yield "was it?", context, None


def squad_of(asked: Iterable[Tuple[str, str, Optional[str]]]) -> Dict[str, Any]:
    """Questions, contexts and answers -> JSON as of SQuAD."""
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": f"q{i}",
                    "question": question,
                    "answers": [{"text": answer, "answer_start": context.index(answer)}] if answer else [],
                }
            ],
        }
        for i, (question, context, answer) in enumerate(asked)
    ]  # fmt: skip
    return {"version": "v2.0", "data": [{"title": "toy", "paragraphs": paragraphs}]}


def gold_of(nlp: Any, question: str, context: str, *answers: str) -> Any:
    """The annotated Doc of a question."""
    doc = spacy_bert.make_pair(nlp, question, context)
    begin = [context.index(answer) for answer in answers]
    set_answers(doc, [Answer(a, i, i + len(a)) for a, i in zip(answers, begin)])
    return doc


def example_of(nlp: Any, question: str, context: str, *answers: str) -> Example:
    return Example(
        spacy_bert.make_pair(nlp, question, context), gold_of(nlp, question, context, *answers)
    )


def toy_examples(nlp: Any) -> List[Example]:
    return [example_of(nlp, q, c, *([a] if a else [])) for q, c, a in questions()]


def train(nlp: Any, steps: int = 15) -> Any:
    """Initialise and train it on the toy questions; they are learnt then."""
    fix_random_seed(0)
    nlp.initialize(lambda: toy_examples(nlp))
    optimizer = AdamW(0.002)
    for _ in range(steps):
        nlp.update(toy_examples(nlp), sgd=optimizer)
    return nlp
