"""Write the demo corpus: invented news with named entities and a topic for every document.

The names, and the sentences they stand in, are made up; see corpus_names.py and corpus_grammar.py.
A document tells one story, of one topic, about a few invented people, firms and places. Some of its
sentences digress to another topic and some would fit any, so no single word tells the topic. A name
may stand for a person in one document and for a firm, a place or a product in the next. Names of
the test and dev parts are, but for a tenth, not used elsewhere, and a third of the sentence
templates is withheld from the train part: what they mean has to be learned from the raw text.
"""

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import spacy
import typer
from spacy.language import Language
from spacy.tokens import Doc, DocBin

from corpus_grammar import Section, Sentence, Story, named_things, read_sections
from corpus_names import Inventory, make_inventories

TOPICS = ("business", "sports", "science", "travel", "culture", "health")
TEXT_DIR = Path(__file__).resolve().parent / "corpus_text"

MIN_SENTENCES, MAX_SENTENCES = 3, 8
CORE_WEIGHTS = (3, 2)  # ... that are made for its story, and that are asides of other topics
LEAD_SHARE = 0.5  # documents that begin with a sentence of no topic
CLOSING_SHARE = 0.4  # documents that end with a sentence made for the end
LINK_SHARE = 0.12  # middle sentences that begin with words such as "meanwhile,"
MAX_NEWCOMERS = 2  # things that a sentence may speak of for the first time
# People of whom a sentence says what they are, so that a document can have only one such sentence.
GUESTS = frozenset({"p0", "p4", "p5", "p6", "p7", "p8", "p9"})
WITHHELD_EVERY = 3  # every third middle sentence or aside is withheld from the train part
RAW_DOCUMENTS_PER_FILE = 1000
RAW_PARAGRAPH = (2, 4)  # sentences in a paragraph of the raw text


@dataclass(frozen=True)
class Mix:
    """What a document is made of; the rest fits any topic.

    core (float): Share of sentences about the topic itself.
    asides (float): Share of sentences that digress to other topics.
    """

    core: float
    asides: float


# Raw text keeps to its story, as news does. The labelled documents digress, so that few words tell
# what they are about.
LABELLED, RAW = Mix(core=0.4, asides=0.45), Mix(core=0.65, asides=0.2)


@dataclass(frozen=True)
class Library:
    """All templates.

    stories (dict[str, list[Section]]): Stories that each topic can tell.
    asides (dict[str, list[str]]): Sentences that digress to each topic.
    shared (Section): Sentences and sets of words for any topic.
    clauses (dict[str, list[str]]): Clauses for first mentions, by kind of thing.
    links (list[str]): Words in front of a sentence.
    """

    stories: dict[str, list[Section]]
    asides: dict[str, list[str]]
    shared: Section
    clauses: dict[str, list[str]]
    links: list[str]


@dataclass(frozen=True)
class Document:
    """A generated document.

    topic (str): Its topic.
    sentences (tuple[Sentence, ...]): Its sentences.
    """

    topic: str
    sentences: tuple[Sentence, ...]

    @property
    def text(self) -> str:
        """RETURNS (str): The sentences, separated by spaces."""
        return " ".join(sentence.text for sentence in self.sentences)

    @property
    def entities(self) -> list[tuple[int, int, str]]:
        """RETURNS (list[tuple[int, int, str]]): Characters and label of each entity of the text."""
        found, offset = [], 0
        for sentence in self.sentences:
            found += [
                (start + offset, end + offset, label) for start, end, label in sentence.entities
            ]
            offset += len(sentence.text) + 1
        return found


def read_library(*, withhold: bool = False) -> Library:
    """Read the templates.

    withhold (bool): Leave out the sentences that the train part must not contain.
    RETURNS (Library): The templates.
    """
    stories: dict[str, list[Section]] = {}
    asides: dict[str, list[str]] = {}
    for topic in TOPICS:
        sections = read_sections(TEXT_DIR / f"{topic}.txt")
        asides[topic] = _without_withheld(sections.pop("aside").middle, withhold=withhold)
        stories[topic] = list(sections.values())
        for story in stories[topic]:
            story.middle = _without_withheld(story.middle, withhold=withhold)
    shared = read_sections(TEXT_DIR / "shared.txt")
    clauses = {name[-1]: part.middle for name, part in shared.items() if name.startswith("after ")}
    return Library(stories, asides, shared["*"], clauses, shared["links"].middle)


def _without_withheld(templates: list[str], *, withhold: bool) -> list[str]:
    return [t for i, t in enumerate(templates, start=1) if not withhold or i % WITHHELD_EVERY]


def generate_documents(
    count: int,
    *,
    rng: random.Random,
    inventory: Inventory,
    library: Library,
    mix: Mix = LABELLED,
) -> list[Document]:
    """Generate documents, of all topics in equal parts.

    count (int): How many.
    rng (random.Random): Source of randomness.
    inventory (Inventory): Where their names come from.
    library (Library): Their templates.
    mix (Mix): What they are made of.
    RETURNS (list[Document]): The documents, in random order.
    """
    topics = [TOPICS[i % len(TOPICS)] for i in range(count)]
    rng.shuffle(topics)
    return [
        generate_document(topic, rng=rng, inventory=inventory, library=library, mix=mix)
        for topic in topics
    ]


def generate_document(
    topic: str,
    *,
    rng: random.Random,
    inventory: Inventory,
    library: Library,
    mix: Mix = LABELLED,
) -> Document:
    """Generate a document.

    topic (str): Its topic.
    rng (random.Random): Source of randomness.
    inventory (Inventory): Where its names come from.
    library (Library): Its templates.
    mix (Mix): What it is made of.
    RETURNS (Document): The document.
    """
    plot = rng.choice(library.stories[topic])
    words = rng.choice(library.shared.words) | rng.choice(plot.words or [{}])
    story = Story(rng=rng, inventory=inventory, words=words, clauses=library.clauses)
    sentences: list[Sentence] = []
    used: set[str] = set()
    for pool, linkable in _plan(topic, plot, mix=mix, library=library, rng=rng):
        template = _pick([t for t in pool if t not in used], story=story, rng=rng)
        used.add(template)
        linked = linkable and rng.random() < LINK_SHARE and not template.startswith('"')
        link = rng.choice(library.links) + " " if linked else ""
        sentences.append(story.tell(template, link=link))
    return Document(topic, tuple(sentences))


def _plan(
    topic: str, plot: Section, *, mix: Mix, library: Library, rng: random.Random
) -> list[tuple[list[str], bool]]:
    """Decide what kind of sentence follows what.

    topic (str): Topic of the document.
    plot (Section): The story that it tells.
    mix (Mix): What it is made of.
    library (Library): All templates.
    rng (random.Random): Source of randomness.
    RETURNS (list[tuple[list[str], bool]]): For each sentence, the templates to choose from and
        whether words such as "meanwhile," may stand in front.
    """
    total = rng.randint(MIN_SENTENCES, MAX_SENTENCES)
    n_core = max(2, round(total * mix.core))
    asides = _plan_asides(topic, round(total * mix.asides), most=n_core - 1, rng=rng)
    # Asides occur in stories of their own topic too: else they would tell what the topic is not.
    core = rng.choices([plot.middle, library.asides[topic]], weights=CORE_WEIGHTS, k=n_core - 1)
    rest = [library.shared.middle] * (total - n_core - len(asides))
    lead, end = [], []
    if rest and rng.random() < LEAD_SHARE:
        rest.pop()
        lead.append((library.shared.opening, False))
    if rng.random() < CLOSING_SHARE:
        replaced, closing = rng.choice([(core, plot.closing), (rest, library.shared.closing)])
        if replaced:
            replaced.pop()
            end.append((closing, False))
    # Sentences of a kind stay together, so that the text does not jump to and fro.
    blocks = [core, rest, *([library.asides[o]] * asides.count(o) for o in dict.fromkeys(asides))]
    rng.shuffle(blocks)
    middle = [pool for block in blocks for pool in block]
    return [*lead, (plot.opening, False), *((pool, True) for pool in middle), *end]


def _plan_asides(topic: str, count: int, *, most: int, rng: random.Random) -> list[str]:
    """Choose topics to digress to, each at most so often that it stays in the minority.

    topic (str): Topic of the document.
    count (int): How many digressions are wanted.
    most (int): How many may go to the same topic.
    rng (random.Random): Source of randomness.
    RETURNS (list[str]): The topics.
    """
    first, second = rng.sample([other for other in TOPICS if other != topic], k=2)
    return ([first] * most + [second] * most)[:count]


def _pick(templates: list[str], *, story: Story, rng: random.Random) -> str:
    """Choose a sentence that speaks of what the story has spoken of already."""
    templates = [t for t in templates if not named_things(t) & story.met & GUESTS] or templates
    # A sentence that names nobody could follow on anything: only where none other is left.
    linked = [t for t in templates if named_things(t) & story.met]
    known = linked or [t for t in templates if not named_things(t)]
    close = [t for t in known if len(named_things(t) - story.met) <= MAX_NEWCOMERS]
    return rng.choice(close or known or templates)


def to_doc(document: Document, *, nlp: Language) -> Doc:
    """Make a spaCy document with the gold entities and the gold topic.

    document (Document): The generated document.
    nlp (Language): Pipeline whose tokenizer to use.
    RETURNS (Doc): The document, with `doc.ents` and `doc.cats`.
    """
    doc = nlp.make_doc(document.text)
    spans = []
    for start, end, label in document.entities:
        span = doc.char_span(start, end, label=label)
        if span is None:
            raise ValueError(
                f"The entity {doc.text[start:end]!r} ({label}) does not begin and end with tokens "
                f"in {doc.text!r}. Expected names that the tokenizer keeps apart from their "
                f"neighbours: change the pattern in corpus_names.py or the template."
            )
        spans.append(span)
    doc.set_ents(spans)
    doc.cats = {topic: float(topic == document.topic) for topic in TOPICS}
    return doc


def raw_text(documents: list[Document], *, rng: random.Random) -> str:
    """Write documents as plain text.

    documents (list[Document]): The documents.
    rng (random.Random): Source of randomness, for the length of paragraphs.
    RETURNS (str): One paragraph a line, and a blank line between documents.
    """
    blocks = []
    for document in documents:
        lines, left = [], [sentence.text for sentence in document.sentences]
        while left:
            size = rng.randint(*RAW_PARAGRAPH)
            # A last paragraph of a single sentence is joined to the one before.
            size = len(left) if len(left) - size < 2 else size
            lines.append(" ".join(left[:size]))
            left = left[size:]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def build_corpus(
    *, seed: int = 0, train: int = 200, dev: int = 100, test: int = 300, raw: int = 4000
) -> dict[str, bytes]:
    """Generate the whole corpus.

    seed (int): Seed of all randomness.
    train (int): Number of training documents.
    dev (int): Number of development documents.
    test (int): Number of test documents.
    raw (int): Number of raw documents.
    RETURNS (dict[str, bytes]): Content of each file, by its path in the output folder.
    """
    inventories = make_inventories(rng=random.Random(seed))
    full, reduced = read_library(), read_library(withhold=True)
    nlp = spacy.blank("en")
    files: dict[str, bytes] = {}
    for part, count in (("train", train), ("dev", dev), ("test", test)):
        library = reduced if part == "train" else full
        documents = generate_documents(
            count, rng=_rng(seed, part), inventory=inventories[part], library=library
        )
        docs = [to_doc(document, nlp=nlp) for document in documents]
        files[f"{part}.spacy"] = DocBin(attrs=["ENT_IOB", "ENT_TYPE"], docs=docs).to_bytes()
    rng = _rng(seed, "raw")
    documents = generate_documents(
        raw, rng=rng, inventory=inventories["raw"], library=full, mix=RAW
    )
    for start in range(0, raw, RAW_DOCUMENTS_PER_FILE):
        text = raw_text(documents[start : start + RAW_DOCUMENTS_PER_FILE], rng=rng)
        name = f"raw/part-{start // RAW_DOCUMENTS_PER_FILE:03}.txt"
        files[name] = text.encode("utf8")
    return files


def _rng(seed: int, part: str) -> random.Random:
    """Randomness of one part, so that it stays the same when the sizes of the others change."""
    return random.Random(f"{seed} {part}")


def write_files(files: dict[str, bytes], *, output: Path) -> None:
    """Write files so that each is there as a whole or not at all.

    files (dict[str, bytes]): Content by path.
    output (Path): Folder that the paths are in.
    """
    for name, content in files.items():
        path = output / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    output: Annotated[Path, typer.Argument(help="Folder to write to. It is made if missing.")],
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same bytes.")] = 0,
    train: Annotated[int, typer.Option(min=1, help="Documents in train.spacy.")] = 200,
    dev: Annotated[int, typer.Option(min=1, help="Documents in dev.spacy.")] = 100,
    test: Annotated[int, typer.Option(min=1, help="Documents in test.spacy.")] = 300,
    raw: Annotated[int, typer.Option(min=0, help="Documents in raw/part-*.txt.")] = 4000,
) -> None:
    """Write the demo corpus: train.spacy, dev.spacy, test.spacy and raw text in raw/.

    The .spacy files have the entities PERSON, ORG, LOC and PRODUCT and one topic a document
    (doc.cats). The raw files are for pretraining: a line is a paragraph, a blank line ends a
    document. Files of the same names are replaced.
    """
    if output.exists() and not output.is_dir():
        _fail(f"{output} is a file, expected a folder. Name a folder, or a path that is free.")
    files = build_corpus(seed=seed, train=train, dev=dev, test=test, raw=raw)
    try:
        write_files(files, output=output)
        removed = remove_stale_raw(output, files=files)
    except OSError as err:
        reason = err.strerror or str(err)
        _fail(f"Cannot write to {output}: {reason}. Expected a folder with room and write access.")
    for name, content in files.items():
        typer.echo(f"{output / name}  {len(content):,} bytes")
    for path in removed:
        typer.echo(f"{path}  removed, left over from a larger corpus")


def remove_stale_raw(output: Path, *, files: dict[str, bytes]) -> list[Path]:
    """Remove raw files of an earlier run, which readers of raw/*.txt would take for part of this.

    output (Path): Folder of the corpus.
    files (dict[str, bytes]): Files of this run.
    RETURNS (list[Path]): What was removed.
    """
    stale = [
        path
        for path in sorted((output / "raw").glob("part-*.txt"))
        if f"raw/{path.name}" not in files
    ]
    for path in stale:
        path.unlink()
    return stale


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(code=1)


if __name__ == "__main__":
    app()
