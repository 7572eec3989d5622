"""Files of annotated texts: whether a pipe can learn from them, and for how long to train."""

import re
from collections import Counter
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Callable,
    Dict,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

if TYPE_CHECKING:
    from spacy.tokens import Doc

# Fine-tuning goes three or four times through the data (paper, appendix A.3), and of few texts more often.
EPOCHS, FEWEST_STEPS = 4, 200
# About what a step reads: `size` of the batcher.
STEP_WORDS = 1000
# Up to which length spans are looked at: to the longest there is, of these. Beyond, a share is left out.
FEWEST_LENGTHS, MOST_LENGTHS, RARE = 3, 8, 0.02


class TrainingData(NamedTuple):
    """What was found in a file, or a folder of them.

    path (str): As it was given.
    n_texts (int): Texts, or questions.
    n_words (int): Their tokens.
    spans (Mapping[str, Mapping[int, int]]): Of each key of doc.spans, how many spans there are of each length.
    """

    path: str
    n_texts: int
    n_words: int
    spans: Mapping[str, Mapping[int, int]] = {}

    @property
    def total_steps(self) -> int:
        """RETURNS (int): How many steps to train for."""
        return max(FEWEST_STEPS, -(-EPOCHS * self.n_words // STEP_WORDS))

    @property
    def times(self) -> float:
        """RETURNS (float): How many times that goes through the data. No step does more than once."""
        return self.total_steps * min(1.0, STEP_WORDS / self.n_words)

    def longest_span(self, key: str) -> int:
        """key (str): A key of doc.spans.
        RETURNS (int): Up to which length, in tokens, spans have to be looked at to find them all; or
            nearly all, if some are long."""
        lengths = self.spans.get(key, {})
        n_spans, longest = sum(lengths.values()), FEWEST_LENGTHS
        while sum(n for length, n in lengths.items() if length > longest) > (
            0 if longest < MOST_LENGTHS else n_spans * RARE
        ):
            longest += 1
        return longest

    def n_longer(self, key: str) -> int:
        """key (str): A key of doc.spans.
        RETURNS (int): How many spans are longer than that."""
        longest = self.longest_span(key)
        return sum(n for length, n in self.spans.get(key, {}).items() if length > longest)


# Pipe -> what it learns from, and whether a Doc has it.
NEEDS: Dict[str, Tuple[str, Callable[["Doc"], bool]]] = {
    "ner": ("entities in doc.ents", lambda doc: bool(doc.ents)),
    "bert_ner": ("entities in doc.ents", lambda doc: bool(doc.ents)),
    "textcat": ("labels in doc.cats", lambda doc: bool(doc.cats)),
    "textcat_multilabel": ("labels in doc.cats", lambda doc: bool(doc.cats)),
    "text_regressor": (
        "a number in doc._.score (DocBin(store_user_data=True) keeps it)",
        lambda doc: _score_of(doc) is not None,
    ),
    "span_qa": ('answers in doc.spans["answers"]', lambda doc: "answers" in doc.spans),
    "tagger": ("token.tag_", lambda doc: doc.has_annotation("TAG")),
    "morphologizer": (
        "token.morph or token.pos_",
        lambda doc: doc.has_annotation("MORPH") or doc.has_annotation("POS"),
    ),
    "parser": ("token.head and token.dep_", lambda doc: doc.has_annotation("DEP")),
    "senter": ("starts of sentences", lambda doc: doc.has_annotation("SENT_START")),
    "trainable_lemmatizer": ("token.lemma_", lambda doc: doc.has_annotation("LEMMA")),
}


def read_training_data(
    path: Path, pipes: Sequence[str], *, lang: str, spans_keys: Dict[str, str]
) -> TrainingData:
    """Read a file as `spacy train` will.

    path (Path): A file, or a folder of them.
    pipes (Sequence[str]): The pipes that are to learn from it, or be scored on it.
    lang (str): Code of the tokenizer's language.
    spans_keys (Dict[str, str]): Pipe -> where in doc.spans its spans are.
    RETURNS (TrainingData): What was found.
    RAISES: OSError or ValueError if it cannot be read, or lacks what one of the pipes needs.
    """
    heads = [pipe for pipe in pipes if pipe != "segments"]
    if heads == ["span_qa"]:
        from ..readers.squad import read_squad

        questions = read_squad(path)
        n_words = sum(len(f"{q.question} {q.context}".split()) for q in questions)
        return TrainingData(str(path), len(questions), n_words)
    needs = {
        head: (f'spans in doc.spans["{key}"]', lambda doc, key=key: bool(doc.spans.get(key)))
        if (key := spans_keys.get(head))
        else NEEDS[head]
        for head in heads
    }
    n_texts, n_words, n_unclear = 0, 0, 0
    found: Counter = Counter()
    labels: Set[str] = set()
    spans: Dict[str, Counter] = {}
    for doc in _docs(path, lang):
        n_texts, n_words = n_texts + 1, n_words + len(doc)
        found.update(head for head, (_, has) in needs.items() if has(doc))
        found["segments"] += "\n\n" in doc.text
        labels.update(doc.cats)
        for key, group in doc.spans.items():
            spans.setdefault(key, Counter()).update(len(span) for span in group)
        n_unclear += bool(doc.cats) and sum(value == 1.0 for value in doc.cats.values()) != 1
    for head, (what, _) in needs.items():
        if not found[head]:
            raise ValueError(
                f"{path}: none of {n_texts} texts has {what}, which '{head}' learns from."
                f"{_elsewhere(spans) if head in spans_keys else ''}"
            )
    if "segments" in pipes and not found["segments"]:
        raise ValueError(
            f"{path}: none of {n_texts} texts is a pair, with a blank line between its two texts, which "
            f"'segments' looks for. `convert-pairs` writes such, and spacy_bert.make_pair."
        )
    if "textcat" in heads and n_unclear:
        raise ValueError(
            f"{path}: {n_unclear} of {found['textcat']} texts with labels do not have exactly one at 1.0, as "
            f"'textcat' needs. Where any number may hold, name textcat_multilabel in its place."
        )
    if {"textcat", "textcat_multilabel"} & {*heads} and len(labels) < 1 + ("textcat" in heads):
        raise ValueError(
            f"{path}: the only label in doc.cats is {', '.join(map(repr, labels))}, but 'textcat' chooses "
            f"among two or more. Each text needs all of them, 1.0 or 0.0."
        )
    return TrainingData(str(path), n_texts, n_words, spans)


def only_spans_key(path: Path, *, lang: str) -> Optional[str]:
    """path (Path): A file, or a folder of them.
    lang (str): Code of the tokenizer's language.
    RETURNS (Optional[str]): The key that all spans are under; None if there are several, or it is none that
        a config can name.
    RAISES: OSError or ValueError if it cannot be read."""
    keys = {key for doc in _docs(path, lang) for key, group in doc.spans.items() if len(group)}
    names = [key for key in keys if re.fullmatch(r"[\w.-]+", key)]
    return names[0] if len(keys) == len(names) == 1 else None


def _elsewhere(spans: Mapping[str, Mapping[int, int]]) -> str:
    keys = [key for key, lengths in spans.items() if lengths]
    if not keys:
        return ""
    return (
        f" They have spans under {', '.join(map(repr, keys))}: put them under that key, too, or leave --train "
        f"and --dev out, and set spans_key in the config to where they are."
    )


def _docs(path: Path, lang: str) -> "Iterator[Doc]":
    import spacy
    from spacy.tokens import DocBin
    from spacy.training.corpus import walk_corpus

    if not path.exists():
        raise FileNotFoundError(f"There is no {path} (looked from {Path.cwd()}). Check the path.")
    if not path.is_dir() and path.suffix != ".spacy":
        raise ValueError(
            f"{path} does not end in .spacy, and spaCy would not read it. `python -m spacy_bert "
            f"convert-pairs` converts tables and JSON lines, `python -m spacy convert` other formats."
        )
    vocab = spacy.blank(lang).vocab
    n_texts = 0
    # spaCy warns of a folder without such files; here it is an error.
    files = walk_corpus(path, ".spacy") if path.is_file() or any(path.rglob("*.spacy")) else []
    for file in files:
        try:
            for doc in DocBin().from_disk(file).get_docs(vocab):
                n_texts += 1
                yield doc
        except Exception as error:  # a damaged file makes it raise almost anything
            raise ValueError(
                f"{file} cannot be read as annotated texts: {type(error).__name__}: {error}. It is damaged, or "
                f"no file that DocBin.to_disk wrote."
            ) from None
    if not n_texts:
        raise ValueError(
            f"{path} holds no texts. Name a .spacy file that does, or a folder of such."
        )


def _score_of(doc: "Doc") -> object:
    from ..targets import score_of

    return score_of(doc)
