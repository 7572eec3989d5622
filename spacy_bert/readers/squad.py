"""`spacy-bert.SquadCorpus.v1`: questions on texts, in the JSON of SQuAD 1.1 and 2.0.

    {"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers": [...]}]}]}]}

An answer is {"text", "answer_start"}, in characters of the context.
"""

import gzip
import json
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, NamedTuple, Tuple, Union

from spacy.training import Example

from ..answers import Answer, set_answers
from ..segments import make_pair

if TYPE_CHECKING:
    from spacy.language import Language

MISPLACED = ("error", "warn")


class Question(NamedTuple):
    """A question on a text.

    id (str): Its id.
    question (str): What is asked.
    context (str): The text, as it stands in the file.
    answers (List[Tuple[str, int]]): The texts of its answers and their first characters; none if
        it has no answer.
    title (str): Of the article that the text is from.
    is_annotated (bool): Whether the file says what its answers are.
    """

    id: str
    question: str
    context: str
    answers: List[Tuple[str, int]]
    title: str
    is_annotated: bool = True


def read_squad(path: Union[str, Path], *, annotated: bool = True) -> List[Question]:
    """Read a file of SQuAD 1.1 or 2.0.

    path (Union[str, Path]): A JSON file, .json or .json.gz.
    annotated (bool): Whether each question has to have a list of answers.
    RETURNS (List[Question]): Its questions, in order. Lone surrogates are replaced by U+FFFD.
    RAISES: OSError or ValueError if it cannot be read, is of another form, or an id is there twice;
        the message names the place.
    """
    path = Path(path)
    data = _load(path)
    questions: List[Question] = []
    seen: Dict[str, str] = {}
    for i, article in enumerate(_list(data, "data", f"{path}")):
        title = article.get("title", "") if isinstance(article, dict) else ""
        place = f"{path}, article {i} ({title!r})"
        for j, paragraph in enumerate(_list(article, "paragraphs", place)):
            place_p = f"{place}, paragraph {j}"
            context = _text(paragraph, "context", place_p)
            for k, entry in enumerate(_list(paragraph, "qas", place_p)):
                where = f"{place_p}, question {k}"
                found = _question(entry, context, title, where, annotated)
                if found.id in seen:
                    raise ValueError(
                        f"{where}: the id {found.id!r} was that of {seen[found.id]} already. Ids must "
                        f"be unique: predictions are written by id."
                    )
                seen[found.id] = where
                questions.append(found)
    if not questions:
        raise ValueError(f"{path} holds no questions. A file in the format of SQuAD was expected.")
    return questions


def _load(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no file {path} (looked from {Path.cwd()}). Name a JSON file in the format of SQuAD, "
            f"or one of it with .gz."
        )
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        return json.loads(raw.decode("utf-8-sig"))
    except (
        UnicodeDecodeError,
        json.JSONDecodeError,
        RecursionError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{path} is no JSON file in UTF-8, or damaged: {error}. A file in the format of SQuAD was "
            f"expected; name one, or fetch it again."
        ) from None


def _list(parent: Any, key: str, place: str) -> List[Any]:
    value = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(value, list):
        raise ValueError(
            f"{place}: a list {key!r} was expected, as the format of SQuAD has it (data > paragraphs > "
            f"qas > answers), but there is {type(value).__name__}."
        )
    return value


def _text(parent: Any, key: str, place: str) -> str:
    value = parent.get(key) if isinstance(parent, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{place}: {key!r} should be a text, but it is {value!r}.")
    # A lone surrogate is no character. One in its place, so that offsets stay.
    return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in value)


def _question(entry: Any, context: str, title: str, place: str, annotated: bool) -> Question:
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(name, (str, int)) or isinstance(name, bool):
        raise ValueError(
            f"{place}: 'id' should be a text, but it is {name!r}. Predictions are written by it: add one "
            f"that no other question has."
        )
    asked = _text(entry, "question", place)
    if not annotated and "answers" not in entry:
        return Question(str(name), asked, context, [], title, False)
    answers = []
    for answer in _list(entry, "answers", place):
        start = answer.get("answer_start") if isinstance(answer, dict) else None
        if not isinstance(start, int) or isinstance(start, bool):
            raise ValueError(
                f"{place}: 'answer_start' should be a number of characters, but it is {start!r}."
            )
        answers.append((_text(answer, "text", place), start))
    # Some files keep plausible answers there.
    is_impossible = entry.get("is_impossible") is True
    return Question(str(name), asked, context, [] if is_impossible else answers, title)


class SquadCorpus:
    """Examples for `span_qa` (`spacy-bert.SquadCorpus.v1`), for `[corpora.train]` and `[corpora.dev]`.

    Each question is a pair of it and its context. Annotated answers are in `doc.spans["answers"]` of
    the reference, an empty group if there is none; the question's id is in `doc.user_data["id"]`.

    path (Union[str, Path, None]): A JSON file of SQuAD 1.1 or 2.0, .json or .json.gz. A config may leave
        it open until something is read.
    limit (int): Above 0: how many questions to read.
    misplaced (str): What to do about answers that are not in the context where they should be,
        apart from blank around them: "warn" to leave such answers out, and questions that have no other
        (as the paper's code does in training); or "error".
    RAISES: ValueError if a setting is none.
    """

    def __init__(
        self, path: Union[str, Path, None], *, limit: int = 0, misplaced: str = "warn"
    ) -> None:
        if misplaced not in MISPLACED:
            raise ValueError(
                f"misplaced is {misplaced!r}, but it must be one of {', '.join(MISPLACED)}."
            )
        if limit < 0:
            raise ValueError(f"limit is {limit}, but it must be 0 (no limit) or more.")
        self.path = None if path is None else Path(path)
        self.limit = limit
        self.misplaced = misplaced

    def __call__(self, nlp: "Language") -> Iterator[Example]:
        """nlp (Language): The pipeline.
        YIELDS (Example): One a question, in order; shuffling is left to spaCy.
        RAISES: OSError or ValueError if the file cannot be read; see read_squad."""
        if self.path is None:
            raise ValueError(
                "There is no file of questions to read: the path of a spacy-bert.SquadCorpus.v1 is null. "
                "Name one in the config, or as --paths.train and --paths.dev."
            )
        questions = read_squad(self.path)
        n_lost, first = 0, ""
        for question in questions[: self.limit] if self.limit else questions:
            answers, lost = place_answers(question)
            if lost:
                n_lost += len(lost)
                first = first or f"{lost[0]!r} of the question {question.id!r}"
                if self.misplaced == "error":
                    raise ValueError(
                        f"{self.path}: the answer {first} is not at its answer_start in the context. "
                        f'Correct it, or read with misplaced = "warn" to leave such answers out.'
                    )
            if question.answers and not answers:
                continue
            predicted = make_pair(nlp, question.question, question.context)
            reference = make_pair(nlp, question.question, question.context)
            for doc in (predicted, reference):
                doc.user_data["id"] = question.id
            set_answers(reference, answers, id=question.id)
            yield Example(predicted, reference)
        if n_lost:
            warnings.warn(
                f"{self.path}: {n_lost} answers are not where they should be in their context, and were "
                f"left out. The first is {first}.",
                stacklevel=2,
            )


def place_answers(question: Question) -> Tuple[List[Answer], List[str]]:
    """Place answers in the context as a pair Doc has it: without blank around it.

    question (Question): A question.
    RETURNS (Tuple[List[Answer], List[str]]): Its answers, and the texts of those that are elsewhere.
    """
    shift = len(question.context) - len(question.context.lstrip())
    context = question.context.strip()
    placed, lost = [], []
    for text, start in question.answers:
        core = text.strip()
        start += len(text) - len(text.lstrip()) - shift
        # Blank is blank: a file may have lost a no-break space or a line end in one of the two.
        found = context[max(0, start) : max(0, start) + len(core)]
        if core and start >= 0 and _blanks(found) == _blanks(core):
            placed.append(Answer(found, start, start + len(core)))
        else:
            lost.append(text)
    return placed, lost


def _blanks(text: str) -> str:
    return "".join(" " if char.isspace() else char for char in text)
