"""Tests of the demo corpus: what it holds, how hard it is, and that it can be made again."""

import os
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import pytest
import spacy
import srsly
from spacy.tokens import Doc, DocBin
from spacy.vocab import Vocab
from typer.testing import CliRunner

SCRIPTS = Path(__file__).resolve().parents[2] / "project" / "scripts"
sys.path.insert(0, str(SCRIPTS))

import baseline  # noqa: E402
import corpus_grammar  # noqa: E402
import corpus_names  # noqa: E402
import make_corpus  # noqa: E402

SMALL = ["--train", "12", "--dev", "6", "--test", "12", "--raw", "24"]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return make_corpus.build_corpus(seed=0, train=200, dev=100, test=300, raw=1200)


@pytest.fixture(scope="module")
def parts(files: dict[str, bytes]) -> dict[str, list[Doc]]:
    vocab = spacy.blank("en").vocab
    return {
        part: list(DocBin().from_bytes(files[f"{part}.spacy"]).get_docs(vocab))
        for part in ("train", "dev", "test")
    }


def labels_by_name(docs: list[Doc]) -> dict[str, set[str]]:
    """Labels of each name, for names that are written the same."""
    labels: dict[str, set[str]] = defaultdict(set)
    for doc in docs:
        for ent in doc.ents:
            labels[ent.text].add(ent.label_)
    return labels


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_in_two_processes(tmp_path: Path) -> None:
    """Catches randomness beside the seed, above all the hash order of sets and dicts."""
    made = []
    for hash_seed in ("1", "2"):
        output = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, str(SCRIPTS / "make_corpus.py"), str(output), *SMALL],
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        made.append(content(output))
    assert made[0] == made[1]
    assert set(made[0]) == {"train.spacy", "dev.spacy", "test.spacy", "raw/part-000.txt"}


def test_another_seed_gives_another_corpus() -> None:
    """Catches a seed that is ignored."""
    one, other = (make_corpus.build_corpus(seed=s, train=6, dev=6, test=6, raw=6) for s in (0, 1))
    assert all(one[name] != other[name] for name in one)


@pytest.mark.parametrize("part", ["train", "dev", "test", "raw"])
def test_sizes_do_not_change_the_other_parts(part: str) -> None:
    """Catches a part that changes with the size of another: more labelled documents would mean
    another raw text, and so another pretraining."""
    sizes = dict.fromkeys(("train", "dev", "test", "raw"), 6)
    before = make_corpus.build_corpus(**sizes)
    after = make_corpus.build_corpus(**{**sizes, part: 12})
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"raw/part-000.txt" if part == "raw" else f"{part}.spacy"}


def test_parts_have_the_sizes_asked_for(parts: dict[str, list[Doc]]) -> None:
    """Catches options that are mixed up."""
    assert {part: len(docs) for part, docs in parts.items()} == {
        "train": 200,
        "dev": 100,
        "test": 300,
    }


def test_entities_are_the_names(parts: dict[str, list[Doc]]) -> None:
    """Catches wrong offsets (a name cut or with its neighbours) and labels of a fifth type."""
    for doc in (doc for docs in parts.values() for doc in docs):
        assert doc.ents
        for ent in doc.ents:
            assert ent.label_ in corpus_names.LABELS
            assert not ent.text.startswith("the ")
            assert re.fullmatch(r"[\w.&' -]*\w", ent.text), ent.text


def test_every_part_has_all_labels_and_topics(parts: dict[str, list[Doc]]) -> None:
    """Catches a topic or a type of entity that is never made, and topics that do not exclude."""
    for docs in parts.values():
        assert {ent.label_ for doc in docs for ent in doc.ents} == set(corpus_names.LABELS)
        gold = [[topic for topic, value in doc.cats.items() if value == 1.0] for doc in docs]
        assert all(len(topics) == 1 for topics in gold)
        assert {topics[0] for topics in gold} == set(make_corpus.TOPICS)
        assert all(set(doc.cats.values()) == {0.0, 1.0} for doc in docs)


def test_the_topic_is_that_of_most_sentences() -> None:
    """Catches documents with as much about another topic, whose label would be a matter of taste."""
    library = make_corpus.read_library()
    topic_of = {id(library.asides[topic]): topic for topic in make_corpus.TOPICS}
    for seed in range(300):
        topic = make_corpus.TOPICS[seed % len(make_corpus.TOPICS)]
        plot = library.stories[topic][0]
        for templates in (plot.opening, plot.middle, plot.closing):
            topic_of[id(templates)] = topic
        mix = (make_corpus.LABELLED, make_corpus.RAW)[seed // 6 % 2]
        plan = make_corpus._plan(topic, plot, mix=mix, library=library, rng=random.Random(seed))
        counts = Counter(topic_of[id(pool)] for pool, _ in plan if id(pool) in topic_of)
        assert all(counts[topic] > counts[other] for other in counts if other != topic)


def test_entity_that_does_not_align_is_an_error() -> None:
    """Catches entities that would be dropped in silence where the tokenizer cuts otherwise."""
    sentence = corpus_grammar.Sentence("Velmar left.", ((0, 3, "ORG"),))
    document = make_corpus.Document("travel", (sentence,))
    with pytest.raises(ValueError, match=r"'Vel'.*corpus_names\.py"):
        make_corpus.to_doc(document, nlp=spacy.blank("en"))


def test_all_raw_documents_align(files: dict[str, bytes]) -> None:
    """Catches rare names or templates whose entities do not align, in more than the gold parts."""
    rng = random.Random(7)
    inventory = corpus_names.make_inventories(rng=rng)["raw"]
    library = make_corpus.read_library()
    nlp = spacy.blank("en")
    for document in make_corpus.generate_documents(
        400, rng=rng, inventory=inventory, library=library
    ):
        doc = make_corpus.to_doc(document, nlp=nlp)
        assert len(doc.ents) == len(document.entities)
        assert 3 <= len(document.sentences) <= 8


def test_names_of_test_and_dev_are_unseen(parts: dict[str, list[Doc]]) -> None:
    """Catches names shared between the parts, with which entities could be learned by heart."""
    known = set(labels_by_name(parts["train"]))
    for part in ("dev", "test"):
        names = set(labels_by_name(parts[part]))
        assert len(names - known) / len(names) >= 0.8
        mentions = [ent.text for doc in parts[part] for ent in doc.ents]
        assert sum(name not in known for name in mentions) / len(mentions) >= 0.8


def test_raw_text_has_no_names_of_the_test_part(
    files: dict[str, bytes], parts: dict[str, list[Doc]]
) -> None:
    """Catches names of the test part that pretraining would have seen."""
    words = set(re.findall(r"\w+", files["raw/part-000.txt"].decode()))
    inventories = corpus_names.make_inventories(rng=random.Random(0))
    own = set(inventories["test"].stems) - set(corpus_names.WORD_STEMS)
    assert {ent.text for doc in parts["test"] for ent in doc.ents} & own
    assert not words & own


def test_names_are_ambiguous(parts: dict[str, list[Doc]]) -> None:
    """Catches names from which the type can be told without the context."""
    labels = labels_by_name(parts["test"])
    assert sum(len(found) >= 2 for found in labels.values()) >= 80
    assert sum(len(found) >= 3 for found in labels.values()) >= 20
    pairs = {pair for found in labels.values() for pair in combinations(sorted(found), 2)}
    # Four types make six pairs, and every pair has to be told apart.
    assert len(pairs) == 6


def test_names_are_ordinary_words_too(parts: dict[str, list[Doc]]) -> None:
    """Catches that a capital letter, or the lack of one, gives the entities away."""
    docs = parts["train"] + parts["dev"] + parts["test"]
    lower = {ent.text for doc in docs for ent in doc.ents if ent.text.islower()}
    assert len(lower) >= 10
    names = set(labels_by_name(docs))
    plain = {
        token.text for doc in docs for token in doc if token.is_title and token.ent_iob_ == "O"
    }
    assert names & plain


def test_raw_text_format(files: dict[str, bytes]) -> None:
    """Catches raw files that a reader of paragraphs and documents would take apart wrongly."""
    assert [name for name in files if name.startswith("raw/")] == [
        "raw/part-000.txt",
        "raw/part-001.txt",
    ]
    counts = []
    for name in ("raw/part-000.txt", "raw/part-001.txt"):
        text = files[name].decode("utf8")
        assert text.endswith(".\n")
        assert "\r" not in text
        documents = text.rstrip("\n").split("\n\n")
        counts.append(len(documents))
        for document in documents:
            lines = document.split("\n")
            assert all(line and line == line.strip() for line in lines)
            # Every paragraph has a next sentence to predict.
            assert all(len(re.findall(r"[.;\"] [A-Z\"0-9]", line)) >= 1 for line in lines), document
    assert counts == [1000, 200]


def test_neighbouring_sentences_share_names(parts: dict[str, list[Doc]]) -> None:
    """Catches documents that are lists of unrelated sentences, with no next one to predict."""
    rng = random.Random(3)
    inventory = corpus_names.make_inventories(rng=rng)["raw"]
    documents = make_corpus.generate_documents(
        300, rng=rng, inventory=inventory, library=make_corpus.read_library()
    )
    related = total = 0
    for document in documents:
        seen: set[str] = set()
        for sentence in document.sentences:
            names = {sentence.text[start:end] for start, end, _ in sentence.entities}
            words = {word for name in names for word in name.split()}
            if seen and names:
                total += 1
                related += bool(words & seen)
            seen |= words
    assert related / total > 0.9


def test_there_are_enough_templates_and_words(files: dict[str, bytes]) -> None:
    """Catches a corpus too poor to pretrain on."""
    for topic, stories in make_corpus.read_library().stories.items():
        count = sum(len(s.opening) + len(s.middle) + len(s.closing) for s in stories)
        assert count >= 25, topic
    words = set(re.findall(r"\b[a-z]{3,}\b", files["raw/part-000.txt"].decode()))
    assert len(words) > 1000


def all_templates() -> list[tuple[str, str, dict[str, str]]]:
    """Every template with its file and each set of words it can be used with."""
    shared = corpus_grammar.read_sections(make_corpus.TEXT_DIR / "shared.txt")
    base = shared["*"].words
    found = []
    for path in sorted(make_corpus.TEXT_DIR.glob("*.txt")):
        for section in corpus_grammar.read_sections(path).values():
            own = section.words if path.name != "shared.txt" else []
            templates = [*section.opening, *section.middle, *section.closing]
            for template in templates:
                found += [(path.name, template, base[0] | words) for words in own or [{}]]
                found += [(path.name, template, words | (own or [{}])[0]) for words in base[1:]]
    return found


def test_all_templates_can_be_told() -> None:
    """Catches mistakes in the templates: unknown slots, lost brackets, doubled spaces or commas."""
    rng = random.Random(5)
    inventory = corpus_names.make_inventories(rng=rng)["raw"]
    clauses = make_corpus.read_library().clauses
    for file, template, words in all_templates():
        story = corpus_grammar.Story(rng=rng, inventory=inventory, words=words, clauses=clauses)
        if "self" in template:
            continue
        text = story.tell(template).text
        where = f"{file}: {template!r} gave {text!r}"
        assert not re.search(r"[\[\]{}|=]|  | [,.;:]|,,|,\.|\.\.| $", text), where
        assert not re.search(r"\ba [aeio]|\ban [^aeiouXh]", text), where


def test_asides_speak_of_something() -> None:
    """Catches an aside that names nobody and so would fit any document, but follow from none."""
    for topic, asides in make_corpus.read_library().asides.items():
        for aside in asides:
            assert corpus_grammar.named_things(aside) & {"p1", "f1", "l1"}, f"{topic}: {aside}"


def test_withheld_templates_are_not_in_the_train_part() -> None:
    """Catches train documents with the sentences that only the raw text should have shown."""
    full, reduced = make_corpus.read_library(), make_corpus.read_library(withhold=True)
    for topic in make_corpus.TOPICS:
        assert set(reduced.asides[topic]) < set(full.asides[topic])
        for i, story in enumerate(full.stories[topic]):
            assert set(reduced.stories[topic][i].middle) < set(story.middle)


def test_wrong_template_file_is_named(tmp_path: Path) -> None:
    """Catches a template that is skipped in silence because its line has no mark."""
    path = tmp_path / "bad.txt"
    path.write_text("[match]\nno mark\n", encoding="utf8")
    with pytest.raises(ValueError, match=r"bad\.txt, line 2: found 'no mark'"):
        corpus_grammar.read_sections(path)


def test_unknown_slot_is_named() -> None:
    """Catches a misspelt slot that would end up in the text."""
    rng = random.Random(0)
    inventory = corpus_names.make_inventories(rng=rng)["raw"]
    story = corpus_grammar.Story(rng=rng, inventory=inventory, words={"goods": "oars"}, clauses={})
    with pytest.raises(ValueError, match=r"\{good\}.*goods"):
        story.tell("They sell {good}.")


def test_pronoun_stands_only_for_the_one_person_before() -> None:
    """Catches pronouns whose person the text has not told."""
    for seed in range(40):
        rng = random.Random(seed)
        inventory = corpus_names.make_inventories(rng=rng)["raw"]
        story = corpus_grammar.Story(rng=rng, inventory=inventory, words={}, clauses={})
        assert len(story.tell("{P1} left.").entities) == 1
        story.tell("{p1} met {p2}.")
        assert len(story.tell("{P1} returned.").entities) == 1


def test_bag_of_words_is_neither_perfect_nor_lost(parts: dict[str, list[Doc]]) -> None:
    """Catches a topic that single words give away, and one that words say nothing about."""
    (accuracy,) = baseline.topic_accuracy(parts["train"], [parts["test"]])
    assert 2 / len(make_corpus.TOPICS) < accuracy < 0.9


def test_names_cannot_be_looked_up(parts: dict[str, list[Doc]]) -> None:
    """Catches entities that a list of the training names would find."""
    assert baseline.lookup_score(parts["train"], parts["train"]) > 0.5
    assert baseline.lookup_score(parts["train"], parts["test"]) < 0.2


def test_command_line_writes_and_replaces(tmp_path: Path) -> None:
    """Catches leftovers: temporary files, and raw files of a larger corpus made before."""
    runner = CliRunner()
    stale = tmp_path / "raw" / "part-007.txt"
    stale.parent.mkdir()
    stale.write_text("Old.\n", encoding="utf8")
    result = runner.invoke(make_corpus.app, [str(tmp_path), *SMALL])
    assert result.exit_code == 0, result.output
    assert "part-007.txt  removed" in result.output
    assert set(content(tmp_path)) == {
        "dev.spacy",
        "raw/part-000.txt",
        "test.spacy",
        "train.spacy",
    }


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches half-written files after an error."""
    (tmp_path / "a.txt").write_bytes(b"old")

    def fail(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        make_corpus.write_files({"a.txt": b"new"}, output=tmp_path)
    assert content(tmp_path) == {"a.txt": b"old"}


def test_user_mistakes_are_told_without_a_traceback(tmp_path: Path) -> None:
    """Catches mistakes of the user that end in a traceback."""
    runner = CliRunner()
    file = tmp_path / "file"
    file.touch()
    for output, found in ((file, "is a file"), (file / "below", "Cannot write")):
        result = runner.invoke(make_corpus.app, [str(output), *SMALL])
        assert result.exit_code == 1
        assert found in result.output
        assert isinstance(result.exception, SystemExit)
    assert runner.invoke(make_corpus.app, [str(tmp_path), "--train", "0"]).exit_code == 2
    result = runner.invoke(baseline.app, [str(tmp_path / "a.spacy"), str(tmp_path / "b.spacy")])
    assert result.exit_code == 1
    assert "a.spacy and no" in result.output


@pytest.mark.parametrize("several", [False, True])
def test_baseline_of_other_data(tmp_path: Path, several: bool) -> None:
    """Catches documents without a topic, or with several, on which the last step of a workflow
    fails."""
    runner = CliRunner()
    assert runner.invoke(make_corpus.app, [str(tmp_path), *SMALL]).exit_code == 0
    for part in ("train", "test"):
        file = tmp_path / f"{part}.spacy"
        docs = baseline.read_docs(file, vocab=Vocab())
        docs[0].cats = {topic: 1.0 for topic in docs[0].cats} if several else {}
        DocBin(docs=docs).to_disk(file)
    paths = [str(tmp_path / f"{part}.spacy") for part in ("train", "test")]
    output = tmp_path / "scores.json"
    result = runner.invoke(baseline.app, [*paths, "--epochs", "1", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert ("bag_of_words_topic" in srsly.read_json(output)) is not several


def test_baseline_prints_its_numbers(tmp_path: Path) -> None:
    """Catches a baseline script that does not read what the generator writes."""
    runner = CliRunner()
    assert runner.invoke(make_corpus.app, [str(tmp_path), *SMALL]).exit_code == 0
    paths = [str(tmp_path / f"{part}.spacy") for part in ("train", "test")]
    output = tmp_path / "scores.json"
    result = runner.invoke(baseline.app, [*paths, "--epochs", "1", "--output", str(output)])
    assert result.exit_code == 0, result.output
    found = srsly.read_json(output)
    assert set(found) == {"chance_topic", "bag_of_words_topic", "name_lookup_ents_f"}
    assert all(f"{name}: {value:.3f}" in result.output for name, value in found.items())
