"""Splitters: exactly spaCy's sentences, in any language, and in any process."""

import pickle
import subprocess
import sys

import pytest
import spacy
from hypothesis import example, given
from hypothesis import strategies as st

from spacy_bert.readers import sentences as module
from spacy_bert.readers.sentences import PipelineSentences, Sentencizer

# Special cases of the tokenizers, abbreviations, emoticons, quotes, other scripts' full stops.
WORDS = (
    "The He I is was cannot don't it's He's Mr. Mrs. Dr. U.S. e.g. a.m. 10a.m. p.m. No. etc. i.e. "
    "... .. . ! ? !? ?! .) (. ) ( \" ' '' “ ” ’ ‘ « » : ; , - -- — :) :-) :( ;) 8) 8-) :-)) ^_^ o.O "
    "(: =) <3 ¯\\(ツ)/¯ x.y 3.14 www.a.b http://a.b/c?d a@b.c Hello. Hello! 'Yes,' \"No.\" (Yes.) "
    "end.\" end.' end.) end.Start ’s 's n't ’Cause Ol' 。 ？ ！ । ؟ 日本語。 हिन्दी। café. Ünder. 😀 ☃. "
    "10km 5$ #1 @a A. B. Jan. Calif. vs. v. I'm. o'clock. 'd ' '' '. .' ''. z.B. d.h. M. Mme."
).split()

texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
    st.lists(st.sampled_from([*WORDS, "", "\n", "\t", " ", "\xa0", "\u3000"]), max_size=12).map(
        " ".join
    ),
    st.lists(st.sampled_from([*WORDS, " "]), max_size=8).map("".join),
    st.text(max_size=40),
    st.lists(st.text("ab. !?'\"():-)8;=^_o", max_size=6), max_size=8).map(" ".join),
)


def spacy_sentences(nlp, text):
    # A Doc can hold no lone surrogates.
    doc = nlp("".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text).strip())
    return [s.text.strip() for s in doc.sents if s.text.strip()] if len(doc) else []


@pytest.fixture(scope="module")
def by_language():
    made = {}

    def get(lang):
        if lang not in made:
            nlp = spacy.blank(lang)
            nlp.add_pipe("sentencizer")
            made[lang] = nlp, Sentencizer(lang)
        return made[lang]

    return get


@pytest.mark.parametrize("lang", ["en", "de", "fr", "xx", "zh", "hi"])
@given(text=texts)
@example(text="(e.g. :-) ) he'd. 8 ) x:)y : ). Yes")
@example(text="a.m . o.O . O b")
def test_spacys_sentences(by_language, lang, text):
    """Catches a sentence that spaCy's rules would end elsewhere."""
    nlp, splitter = by_language(lang)
    assert splitter(text) == spacy_sentences(nlp, text)


PROSE = (
    'Mr. Smith, of the U.S., said "No." He left at 10 a.m. on Jan. 3. "Why?" she asked. (Nobody '
    "knew.) It's 3.14 km... from here! 'Tis true?! I don't. O'Neill's. — Yes; at last: done. "
) * 20


def test_words_are_enough(by_language, monkeypatch):
    """Catches a splitter that leaves all to spaCy, which is right but slow."""
    nlp, splitter = by_language("en")
    expected = spacy_sentences(nlp, PROSE)
    assert len(expected) > 150
    splitter("Loaded.")
    monkeypatch.setattr(splitter, "_nlp", Only(splitter._nlp.tokenizer))
    assert splitter(PROSE) == expected
    monkeypatch.setattr(splitter._nlp, "tokenizer", None)
    assert splitter(PROSE) == expected, "words are not remembered"


class Only:
    """A pipeline that is good for its tokenizer only."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer


def test_neighbours_are_noticed(by_language, monkeypatch):
    """Catches the one case in which words are not independent: here the tokens of two words make a
    special case that keeps the one within the first word from being found."""
    nlp, splitter = by_language("en")
    fell_back = []
    original = splitter._starts

    def watched(text):
        starts = original(text)
        fell_back.append(starts is None)
        return starts

    monkeypatch.setattr(splitter, "_starts", watched)
    for text in ("x.:) ) y", "Hello.x:-) ) :-) Yes."):
        assert splitter(text) == spacy_sentences(nlp, text)
    assert any(fell_back)


def test_memory_is_flat(by_language, monkeypatch):
    """Catches words, or spaCy's own memory of them, that are kept for ever."""
    splitter = Sentencizer()
    splitter("Loaded.")
    first = splitter._nlp
    monkeypatch.setattr(module, "N_WORDS", 10)
    monkeypatch.setattr(module, "N_ASKED", 50)
    for i in range(100):
        assert splitter(f"word{i}. Next") == [f"word{i}.", "Next"]
        assert len(splitter._words) <= 10
    assert splitter._nlp is not first


def test_settings():
    """Catches characters of the user's own that are not used, longer ones above all."""
    splitter = Sentencizer("en", punct_chars=[";", "..."])
    assert splitter("A; b. c ... d") == ["A;", "b. c ...", "d"]
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer", config={"punct_chars": [";", "..."]})
    assert splitter("A... b. c; d") == spacy_sentences(nlp, "A... b. c; d")


def test_unknown_language():
    """Catches a language that fails somewhere inside of spaCy."""
    with pytest.raises(ValueError, match="The language 'qq', whose rules .* cannot be had"):
        Sentencizer("qq")("Text.")


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\ud800", "a\ud83d. B"])
def test_odd_texts(by_language, text):
    """Catches an error for what a corpus may hold, and empty sentences."""
    assert "" not in by_language("en")[1](text)


def test_registered_in_spacy():
    """Catches names that a config cannot use."""
    make = spacy.registry.misc.get("spacy-bert.Sentencizer.v1")
    assert make(lang="en")("Go. Stop") == ["Go.", "Stop"]
    assert spacy.registry.misc.get("spacy-bert.Paragraphs.v1")()("Go. Stop") == ["Go. Stop"]


def test_pickle():
    """Catches a splitter that takes spaCy's objects along to a worker process, or loses settings."""
    splitter = Sentencizer("de", punct_chars=[";"])
    splitter("Laden; jetzt")
    data = pickle.dumps(splitter)
    assert len(data) < 200
    again = pickle.loads(data)
    assert repr(again) == repr(splitter) and again("A; b. c") == ["A;", "b. c"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A pipeline that ends sentences before every "Then"."""
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    ruler.add([[{"ORTH": "Then"}]], {"SENT_START": 1})
    path = tmp_path_factory.mktemp("pipeline") / "then"
    nlp.to_disk(path)
    return path


def test_pipeline(tmp_path):
    """Catches sentences that are not the pipeline's own, a batch in another order, and settings
    lost on the way to a worker process."""
    nlp = spacy.blank("en")
    nlp.add_pipe("sentencizer", config={"punct_chars": [";"]})
    nlp.to_disk(tmp_path / "p")
    splitter = PipelineSentences(str(tmp_path / "p"), exclude=["ner"], batch_size=2)
    paragraphs = ["A. b; c", "", "One", " d; e\ud800; "]
    expected = [["A. b;", "c"], [], ["One"], ["d;", "e\ufffd;"]]
    assert splitter.batch(paragraphs) == expected
    assert [splitter(text) for text in paragraphs] == expected
    data = pickle.dumps(splitter)
    assert len(data) < 400
    again = pickle.loads(data)
    assert again.batch(paragraphs) == expected
    assert (again.exclude, again.batch_size) == (("ner",), 2)


def test_pipeline_without_sentences(tmp_path):
    """Catches a pipeline that marks no sentences, found in spaCy's words or not at all."""
    spacy.blank("en").to_disk(tmp_path / "p")
    with pytest.raises(ValueError, match="marks no sentences; found the pipes none"):
        PipelineSentences(str(tmp_path / "p"))("One. Two.")


def test_no_pipeline(tmp_path):
    """Catches an error that does not say what the pipeline was wanted for."""
    with pytest.raises(OSError, match="'nowhere', which was to split sentences"):
        PipelineSentences("nowhere")("One.")


def test_import_is_light():
    """Catches spaCy imported by the command line, or by a process that splits nothing."""
    code = "import spacy_bert.readers.sentences, sys; print('spacy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
