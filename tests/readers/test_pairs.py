"""Files with columns -> Examples: what GLUE and its like hand out, and what is wrong with some files."""

import gzip
import json
from typing import Any, Dict, List

import pytest
import spacy
from spacy.tokens import DocBin
from spacy.training import Corpus
from spacy.util import registry

from spacy_bert.readers.pairs import PairsCorpus, save_pairs

MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String"
LISTENER = {"@architectures": "spacy-bert.BertPooledListener.v1", "width": 32}
TEXTCAT = {
    "@architectures": "spacy-bert.BertTextCat.v1",
    "exclusive_classes": True,
    "tok2vec": LISTENER,
}
PAIR = {"text_a": "#1 String", "text_b": "#2 String", "label": "Quality"}


@pytest.fixture
def nlp() -> Any:
    nlp = spacy.blank("en")
    nlp.add_pipe("segments")
    return nlp


@pytest.fixture
def write(tmp_path: Any) -> Any:
    """A function: name, content -> the path of the file."""

    def write_file(name: str, content: Any) -> Any:
        data = content.encode("utf8") if isinstance(content, str) else content
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return tmp_path / name

    return write_file


def segments(doc: Any) -> List[str]:
    return [span.text for span in doc.spans["segments"]]


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["train.tsv", "train.txt.gz"])
def test_glue_tsv(nlp: Any, write: Any, bom: str, end: str, name: str) -> None:
    """Catches a byte order mark that becomes part of the first column's name, a line end that becomes
    part of the last text, and quotation marks that are read as CSV's, so that rows run together."""
    rows = [MRPC, '1\t7\t8\tHe said "no.\tHe "declined', "0\t9\t10\tAlice left\u2028early.\tBob's here.", ""]  # fmt: skip
    examples = list(PairsCorpus(write(name, bom + end.join(rows)), **PAIR)(nlp))
    assert [segments(e.predicted) for e in examples] == [
        ['He said "no.', 'He "declined'],
        ["Alice left\u2028early.", "Bob's here."],
    ]
    assert [e.reference.cats for e in examples] == [{"0": 0.0, "1": 1.0}, {"0": 1.0, "1": 0.0}]
    for example in examples:
        assert segments(example.reference) == segments(example.predicted)
        assert not example.predicted.cats and example.predicted._.score is None
        assert example.text == "\n\n".join(segments(example.predicted))


def test_csv_without_header(nlp: Any, write: Any) -> None:
    """Catches quotes that stay, a comma or line break in quotes that splits, and numbers that
    become labels."""
    content = '"A ""plane"", high","An air\nplane",5.0\r\nBob,Carol,0.25\r\n'
    corpus = PairsCorpus(write("a.csv", content), header=False, text_a=0, text_b=1, score=2)
    examples = list(corpus(nlp))
    assert segments(examples[0].predicted) == ['A "plane", high', "An air\nplane"]
    assert [e.reference._.score for e in examples] == [5.0, 0.25]
    assert not examples[0].reference.cats
    assert [row.line for row in corpus.rows()] == [1, 3]


def test_single_texts_by_number(nlp: Any, write: Any) -> None:
    """Catches CoLA's layout: no header, the text last, an empty column between."""
    path = write("cola.tsv", "gj04\t1\t\tWe left.\ngj04\t0\t*\tWe leaved.\n")
    labels = {"0": "unacceptable", "1": "acceptable"}
    corpus = PairsCorpus(path, header=False, text_a=3, label=1, labels=labels)
    first, second = corpus(nlp)
    assert (first.text, second.text) == ("We left.", "We leaved.")
    assert first.reference.cats == {"unacceptable": 0.0, "acceptable": 1.0}
    assert "segments" not in first.predicted.spans


def test_jsonl(nlp: Any, write: Any) -> None:
    """Catches labels and numbers that JSON does not spell as strings, and lone surrogates, at which
    spaCy's StringStore fails."""
    rows: List[Dict[str, Any]] = [
        {"a": "One \ud800.", "b": "Two.", "y": 1, "s": 2, "id": "x"},
        {"a": "Three.", "b": "", "y": 0, "s": "0.5", "id": 7},
        {"a": "Four.", "b": "Five", "y": True, "s": 1e3, "id": "z"},
    ]
    path = write("a.jsonl", "".join(json.dumps(row) + "\n\n" for row in rows))
    corpus = PairsCorpus(path, text_a="a", text_b="b", label="y", score="s", id="id")
    examples = list(corpus(nlp))
    assert examples[0].text == "One \ufffd.\n\nTwo."
    assert examples[0].reference.cats == {"0": 0.0, "1": 1.0, "true": 0.0}
    assert [e.reference._.score for e in examples] == [2.0, 0.5, 1000.0]
    assert [e.predicted.user_data["id"] for e in examples] == ["x", "7", "z"]


def test_empty_second_text(tiny_nlp: Any, write: Any) -> None:
    """Catches a pair without second text that is refused, or read as a pair of something and
    nothing: the paper's code reads it as one text."""
    tiny_nlp.add_pipe("segments", first=True)
    path = write("a.tsv", "a\tb\nAlice lives in Paris\t\nAlice lives in Paris\tBob\n")
    one, two = PairsCorpus(path, text_a="a", text_b="b")(tiny_nlp)
    alone = tiny_nlp("Alice lives in Paris")
    vector = tiny_nlp(one.predicted)._.bert.cls
    assert vector == pytest.approx(alone._.bert.cls, abs=1e-5)
    assert tiny_nlp(two.predicted)._.bert.cls != pytest.approx(vector, abs=1e-3)


@pytest.mark.parametrize("row", ["Alice lives\t\t1", "\tAlice lives\t1"])
def test_an_empty_text_in_training(tiny_nlp: Any, write: Any, row: str) -> None:
    """Catches a span that spaCy cannot copy, in training and in evaluation."""
    tiny_nlp.add_pipe("segments", first=True)
    tiny_nlp.add_pipe("textcat", config={"model": TEXTCAT})
    path = write("a.tsv", f"a\tb\ty\n{row}\nAlice lives in Paris\tBob\t0\n")
    examples = list(PairsCorpus(path, text_a="a", text_b="b", label="y")(tiny_nlp))
    optimizer = tiny_nlp.initialize(lambda: examples)
    losses = tiny_nlp.update(examples, sgd=optimizer, annotates=["segments"])
    assert losses["textcat"] > 0 and 0 <= tiny_nlp.evaluate(examples)["cats_score"] <= 1


BROKEN = [
    ("a.tsv", "a\tb\ty\nx\ty\n", {}, ["a.tsv, line 2", "2 values, but the header names 3", "skip"]),
    ("a.tsv", "a\tb\ty\nx\ty\t1\t2\n", {}, ["line 2", "4 values"]),
    ("a.tsv", "x\ty\t1\nx\ty\n", {"header": False, "text_a": 0, "text_b": 1, "label": 2}, ["line 2", "first row has 3"]),
    ("a.tsv", "a\tc\ty\nx\ty\t1\n", {}, ["Column 'b' is not in the header", "'a', 'c', 'y'"]),
    ("a.tsv", "a\ta\tb\ty\nx\tx\ty\t1\n", {}, ["Column 'a' is twice"]),
    ("a.tsv", "x\ty\t1\n", {"header": False}, ["Column 'a'", "without header"]),
    ("a.tsv", "a\tb\ty\nx\ty\t1\n", {"label": 3}, ["Column 3", "3 columns"]),
    ("a.tsv", "a\tb\ty\n", {}, ["holds no rows"]),
    ("a.tsv", "", {}, ["holds no rows"]),
    ("a.tsv", "a\tb\ty\nx\ty\t\n", {}, ["line 2", "label in column 'y' is empty", "missing"]),
    ("a.tsv", "a\tb\ty\nx\ty\t2\n", {"labels": ["0", "1"]}, ["line 2", "'2'", "'0', '1'"]),
    ("a.tsv", "a\tb\ty\nx\ty\tnan\n", {"label": None, "score": "y"}, ["line 2", "'nan'", "missing = ['nan']"]),
    ("a.tsv", "a\tb\ty\nx\ty\tinf\n", {"label": None, "score": "y"}, ["line 2", "'inf'"]),
    ("a.tsv", "a\tb\ty\nx\ty\thigh\n", {"label": None, "score": "y"}, ["line 2", "'high'", "finite"]),
    ("a.tsv", "a\tb\ty\nx\ty\t1\nz\tw\t1\n", {"id": "y"}, ["line 3", "id '1' is that of line 2"]),
    ("a.csv", 'a,b,y\nx,"y,1\nz,w,1\n', {}, ["line 2", "quotation marks", 'quoting = "none"']),
    ("a.jsonl", '{"a": "x", "b": "y"}\n', {}, ["line 1", "no key 'y'", "'a', 'b'"]),
    ("a.jsonl", '{"a": 3, "b": "y", "y": 1}\n', {}, ["line 1", "is 3, which is no string"]),
    ("a.jsonl", '{"a": "x", "b": "y", "y": {"p": 1}}\n', {}, ["line 1", "is {'p': 1}", "list of them"]),
    ("a.jsonl", '{"a": "x", "b": "y", "y": ["p", ["q"]]}\n', {}, ["line 1", "is ['q']"]),
    ("a.jsonl", '{"a": "x", "b": "y", "y": ["p", ""]}\n', {}, ["line 1", "is empty"]),
    ("a.csv", "a;b;y\nx;y;1\n", {}, ["divided by ';', where ',' is read"]),
    ("a.tsv", "a\tb\ty\nx\ty\t1,5\n", {"label": None, "score": "y"}, ["'1,5'", "decimal point"]),
    ("a.jsonl", "[" * 200_000, {}, ["line 1", "not valid JSON"]),
    ("a.jsonl", '\n{"a"\n', {}, ["line 2", "not valid JSON"]),
    ("a.jsonl", '["a"]\n', {}, ["line 1", "no JSON object"]),
    ("a.tsv", b"a\tb\ty\nx\t\xff\t1\n", {}, ["line 2", "not UTF-8", "0xff"]),
    ("a.xlsx", "a", {}, ["tells no format", "set format"]),
    ("a.tsv", "a", {"format": "xml"}, ["format is 'xml'", "tsv"]),
    ("a.tsv", "a", {"quoting": "all"}, ["quoting is 'all'", "none"]),
    ("a.tsv", "a", {"bad_rows": "drop"}, ["bad_rows is 'drop'"]),
    ("a.tsv", "a", {"limit": -1}, ["limit is -1"]),
]  # fmt: skip


@pytest.mark.parametrize("name, content, settings, expected", BROKEN)
def test_broken_files(
    nlp: Any, write: Any, name: str, content: Any, settings: Any, expected: Any
) -> None:
    """Catches a broken row that is read as something else, and an error that does not say where."""
    given = {"text_a": "a", "text_b": "b", "label": "y", **settings}
    with pytest.raises(ValueError) as error:
        list(PairsCorpus(write(name, content), **given)(nlp))
    for part in expected:
        assert part in str(error.value)


def test_several_labels(nlp: Any, write: Any) -> None:
    """Catches a list of labels that becomes the name of one."""
    rows: List[Dict[str, Any]] = [
        {"text": "x", "y": ["B", "A", "A"]}, {"text": "y", "y": []}, {"text": "z", "y": "C"}, {"text": "w", "y": None}
    ]  # fmt: skip
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    corpus = PairsCorpus(path, text_a="text", label="y", missing=[""])
    cats = [example.reference.cats for example in corpus(nlp)]
    assert cats == [
        {"A": 1.0, "B": 1.0, "C": 0.0}, {"A": 0.0, "B": 0.0, "C": 0.0}, {"A": 0.0, "B": 0.0, "C": 1.0}, {}
    ]  # fmt: skip
    assert corpus.file_labels() == ["A", "B", "C"]
    some = PairsCorpus(path, text_a="text", label="y", missing=["", "A", "C"])
    assert [example.reference.cats for example in some(nlp)] == [{"B": 1.0}, {"B": 0.0}, {}, {}]
    renamed = PairsCorpus(
        path, text_a="text", label="y", missing=[""], labels={x: "all" for x in "ABC"}
    )
    assert [example.reference.cats for example in renamed(nlp)][0] == {"all": 1.0}


def test_no_such_file(nlp: Any, tmp_path: Any) -> None:
    """Catches an empty corpus in the place of a file that is not there."""
    with pytest.raises(FileNotFoundError, match="nowhere.tsv"):
        list(PairsCorpus(tmp_path / "nowhere.tsv")(nlp))


def test_cut_off_gzip(nlp: Any, tmp_path: Any) -> None:
    """Catches half a download that is read as a whole file."""
    (tmp_path / "a.tsv.gz").write_bytes(gzip.compress(b"text_a\n" + b"abc\n" * 999)[:-9])
    with pytest.raises(ValueError, match="no whole gzip file"):
        list(PairsCorpus(tmp_path / "a.tsv.gz")(nlp))
    whole = bytearray(gzip.compress(bytes(range(32, 127)) * 9))
    whole[len(whole) // 2] ^= 0xFF
    whole[len(whole) // 2 + 1] ^= 0xFF
    (tmp_path / "b.tsv.gz").write_bytes(whole)
    with pytest.raises(ValueError, match="b.tsv.gz is no whole gzip file"):
        list(PairsCorpus(tmp_path / "b.tsv.gz")(nlp))


@pytest.mark.parametrize(
    "name, content",
    [("a.tsv", "text_a\tlabel\rone\tx\rtwo\ty\r"), ("a.jsonl", '{"text_a": "one", "label": "x"}\r{"text_a": "two", "label": "y"}')],
)  # fmt: skip
def test_line_ends_of_old(nlp: Any, write: Any, name: str, content: str) -> None:
    """Catches a file that is taken for one long line, and a lone one within a text that ends it."""
    examples = list(
        PairsCorpus(write(name, content), text_a="text_a", text_b=None, label="label")(nlp)
    )
    assert [e.reference.text for e in examples] == ["one", "two"]
    corpus = PairsCorpus(
        write("b.tsv", "text_a\none\rtwo\n"), text_a="text_a", text_b=None, label=None
    )
    assert [e.reference.text for e in corpus(nlp)] == ["one\rtwo"]


def test_missing_and_skipped(nlp: Any, write: Any) -> None:
    """Catches a value for "no annotation" that is learnt, and a row that is left out in silence."""
    path = write("a.tsv", "a\ty\ts\nx\t-\tnan\ny\tb\n\nz\tc\t1.5\n")
    corpus = PairsCorpus(
        path, text_a="a", label="y", score="s", missing=["-", "nan"], bad_rows="skip"
    )
    with pytest.warns(UserWarning, match="1 of 4 rows.*line 3"):
        first, second = corpus(nlp)
    assert not first.reference.cats and first.reference._.score is None
    assert second.reference.cats == {"c": 1.0} and second.reference._.score == 1.5


def test_limit(nlp: Any, write: Any) -> None:
    """Catches a limit that is not kept, or that hides nothing of what comes behind."""
    path = write("a.tsv", "a\ty\nx\t0\ny\t1\nz\t2\n")
    examples = list(PairsCorpus(path, text_a="a", label="y", limit=2)(nlp))
    assert [e.reference.cats.keys() for e in examples] == [{"0", "1"}] * 2


def test_label_that_training_lacked(nlp: Any, write: Any) -> None:
    """Catches a dev label that can never be predicted, which spaCy counts as a miss in silence; and
    a dev file with fewer labels that scores as if there were no others."""
    train = write("train.tsv", "a\ty\nx\tno\ny\tyes\nz\tmaybe\n")
    textcat = nlp.add_pipe("textcat")
    nlp.initialize(lambda: list(PairsCorpus(train, text_a="a", label="y")(nlp)))
    assert set(textcat.labels) == {"maybe", "no", "yes"}
    fewer = write("fewer.tsv", "a\ty\nx\tno\n")
    (example,) = PairsCorpus(fewer, text_a="a", label="y")(nlp)
    assert example.reference.cats == {"maybe": 0.0, "no": 1.0, "yes": 0.0}
    other = write("other.tsv", "a\ty\nx\tno\ny\tnever\n")
    message = r"other.tsv, line 3: the label 'never'.*\(maybe, no, yes\)"
    with pytest.raises(ValueError, match=message):
        list(PairsCorpus(other, text_a="a", label="y")(nlp))


def test_pipeline_without_segments(write: Any) -> None:
    """Catches a pipeline that will be wrong on files, where spaCy drops the spans of pairs."""
    path = write("a.tsv", "a\tb\nx\ty\n")
    with pytest.warns(UserWarning, match="no component `segments`"):
        list(PairsCorpus(path, text_a="a", text_b="b")(spacy.blank("en")))


def test_text_with_the_separator(nlp: Any, write: Any) -> None:
    """Catches a pair that would come apart at the wrong place; the row is named."""
    nlp.get_pipe("segments").separator = " | "
    path = write("a.tsv", "a\tb\nx\ty\nx | z\ty\n")
    with pytest.raises(ValueError, match=r"a.tsv, line 3: The first text.*separator ' \| '"):
        list(PairsCorpus(path, text_a="a", text_b="b")(nlp))


def test_from_a_config(nlp: Any, write: Any) -> None:
    """Catches settings that spaCy's validation changes: a name "1" is no number."""
    path = write("a.tsv", "1\t0\nx\ty\n")
    section = {
        "@readers": "spacy-bert.PairsCorpus.v1",
        "path": str(path),
        "text_a": "1",
        "label": 1,
    }
    (example,) = registry.resolve({"corpus": section})["corpus"](nlp)
    assert example.text == "x" and example.reference.cats == {"y": 1.0}


def test_saved_for_spacy(nlp: Any, write: Any, tmp_path: Any) -> None:
    """Catches numbers, labels or segments that get lost in spaCy's binary format."""
    path = write("a.tsv", "a\tb\ty\ts\nx\ty\t0\t1.5\nz\t\t1\t-2\n")
    corpus = PairsCorpus(path, text_a="a", text_b="b", label="y", score="s")
    assert save_pairs(corpus, nlp, tmp_path / "a.spacy") == 2
    examples = list(Corpus(tmp_path / "a.spacy")(nlp))
    assert [e.reference._.score for e in examples] == [1.5, -2.0]
    assert [e.reference.cats["1"] for e in examples] == [0.0, 1.0]
    assert segments(nlp(examples[0].predicted)) == ["x", "y"]
    assert len(DocBin().from_disk(tmp_path / "a.spacy")) == 2
    assert not list(tmp_path.glob("*.tmp"))
