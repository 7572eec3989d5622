"""Files in SQuAD's format: what they hold, and what is wrong with them."""

import copy
import gzip
import json

import pytest
import spacy

from spacy_bert.answers import answers_of, facts_of, is_annotated
from spacy_bert.readers.squad import SquadCorpus, read_squad

nlp = spacy.blank("en")
DATA = {
    "version": "v2.0",
    "data": [
        {
            "title": "Alice",
            "paragraphs": [
                {
                    "context": "Alice lives in Paris\u00a0now.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where does\n\nAlice live? ",
                            "answers": [
                                {"text": "Paris", "answer_start": 15},
                                {"text": "in Paris now", "answer_start": 12},
                            ],
                        },
                        {
                            "id": 2,
                            "question": "Where is Bob?",
                            "is_impossible": True,
                            "answers": [],
                            "plausible_answers": [{"text": "Paris", "answer_start": 15}],
                        },
                    ],
                }
            ],
        },
        {
            "title": "Bob",
            "paragraphs": [
                {
                    "context": " \n Bob \ud83d\ude00 works.",
                    "qas": [
                        {
                            "id": "q3",
                            "question": "Who works?",
                            "answers": [{"text": " Bob ", "answer_start": 2}],
                        }
                    ],
                }
            ],
        },
    ],
}


@pytest.fixture
def write(tmp_path):
    def write(data, name="data.json", encoding="utf8"):
        path = tmp_path / name
        raw = json.dumps(data).encode(encoding)
        path.write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
        return path

    return write


@pytest.mark.parametrize("name, encoding", [("a.json", "utf8"), ("a.json.gz", "utf8"), ("a.json", "utf-8-sig")])  # fmt: skip
def test_questions(write, name, encoding):
    """Catches questions that are lost, plausible answers that count, and files that cannot be read."""
    questions = read_squad(write(DATA, name, encoding))
    assert [(q.id, q.title, len(q.answers)) for q in questions] == [
        ("q1", "Alice", 2),
        ("2", "Alice", 0),
        ("q3", "Bob", 1),
    ]
    assert questions[0].answers == [("Paris", 15), ("in Paris now", 12)]
    assert questions[2].context.endswith("😀 works.")


def test_examples(write):
    """Catches answers that are off by the blank that a pair loses, or refused for another blank; ids
    that are lost; a question without answer that is not annotated."""
    first, second, third = SquadCorpus(write(DATA))(nlp)
    assert [(a.text, a.start) for a in answers_of(first.reference)] == [
        ("Paris", 15),
        ("in Paris\u00a0now", 12),
    ]
    assert is_annotated(second.reference) and answers_of(second.reference) == []
    assert [(a.text, a.start) for a in answers_of(third.reference)] == [("Bob", 0)]
    for example, name in ((first, "q1"), (second, "2"), (third, "q3")):
        assert example.predicted.user_data["id"] == facts_of(example.reference)["id"] == name
        assert not is_annotated(example.predicted)
        assert len(example.predicted.spans["segments"]) == 2
        assert example.predicted.text == example.reference.text
    assert first.predicted.text.startswith("Where does\nAlice live?\n\nAlice")


def test_limit(write):
    """Catches a limit of articles, or one that is none."""
    assert len(list(SquadCorpus(write(DATA), limit=2)(nlp))) == 2
    with pytest.raises(ValueError, match="limit is -1"):
        SquadCorpus("x.json", limit=-1)


def test_no_path():
    """Catches a config without paths that cannot be resolved, or that reads nothing in silence."""
    with pytest.raises(ValueError, match="the path of .* is null.*--paths.train"):
        next(iter(SquadCorpus(None)(nlp)))


def changed(**changes):
    data = copy.deepcopy(DATA)
    question = data["data"][0]["paragraphs"][0]["qas"][0]
    question.update(changes)
    return data


def test_misplaced_answers(write):
    """Catches an answer that is learnt at another place, and a question that loses its answers and
    is learnt as having none."""
    wrong = [{"text": "Paris", "answer_start": 14}, {"text": "Rome", "answer_start": 15}]
    for answers, n_left in ((wrong, 2), ([*wrong, {"text": "Paris", "answer_start": 15}], 3)):
        path = write(changed(answers=answers))
        with pytest.warns(
            UserWarning, match="2 answers are not where .* 'Paris' of the question 'q1'"
        ):
            examples = list(SquadCorpus(path)(nlp))
        assert len(examples) == n_left
        with pytest.raises(ValueError, match="data.json: the answer 'Paris' of the question 'q1'"):
            list(SquadCorpus(path, misplaced="error")(nlp))
    path = write(changed(answers=[{"text": "Alice", "answer_start": -25}]))
    with pytest.warns(UserWarning, match="1 answers"):
        list(SquadCorpus(path)(nlp))
    with pytest.raises(ValueError, match="misplaced is 'skip'"):
        SquadCorpus("x.json", misplaced="skip")


def test_duplicate_ids(write):
    """Catches two questions whose predictions are written to one place."""
    data = changed(id="q3")
    with pytest.raises(ValueError, match="article 1 .*the id 'q3' was that of .*article 0"):
        read_squad(write(data))


@pytest.mark.parametrize(
    "data, message",
    [
        ([], "data.json: a list 'data' was expected"),
        ({"data": []}, "holds no questions"),
        ({"data": [{"title": "x"}]}, r"article 0 \('x'\): a list 'paragraphs'"),
        (
            {"data": [{"paragraphs": [{"qas": []}]}]},
            "paragraph 0: 'context' should be a text.*None",
        ),
        (changed(question=None), "question 0: 'question' should be a text"),
        (changed(id=None), "question 0: 'id' should be a text"),
        (changed(answers=None), "question 0: a list 'answers'"),
        (changed(answers=[{"text": "Paris", "answer_start": "15"}]), "'answer_start' .*'15'"),
        (changed(answers=[{"answer_start": 15}]), "'text' should be a text"),
    ],
)
def test_other_forms(write, data, message):
    """Catches a traceback, or an error that does not say where."""
    with pytest.raises(ValueError, match=message):
        read_squad(write(data))


def test_damaged_files(tmp_path):
    """Catches an error that does not name the file."""
    path = tmp_path / "bad.json"
    for content in (b"{", b"\xff\xfe", gzip.compress(b"{}" * 99)[:20]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="bad.json is no JSON file"):
            read_squad(path)
    for missing in (tmp_path / "none.json", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file {missing}.*JSON file in the format"):
            read_squad(missing)


def test_lone_surrogates(write):
    """Catches what spaCy's StringStore fails on, and offsets that move when it is replaced."""
    data = changed()
    data["data"][0]["paragraphs"][0]["context"] = "Alice \udc80ives in Paris\u00a0now."
    (example, *_) = SquadCorpus(write(data))(nlp)
    assert "\ufffdives" in example.predicted.text
    assert answers_of(example.reference)[0].text == "Paris"


def test_empty_context(write):
    """Catches an empty text that spaCy fails to copy in nlp.update and nlp.evaluate."""
    data = {"data": [{"paragraphs": [{"context": " ", "qas": [{"id": "a", "question": "Who?", "answers": []}]}]}]}  # fmt: skip
    (example,) = SquadCorpus(write(data))(nlp)
    example.predicted.copy()
    assert is_annotated(example.reference)
