"""Templates of sentences: how they are stored, and how they are turned into text with entities.

The files in corpus_text/ hold one template a line. "[name]" opens a section, "#" a comment, and
the first character of a line says what it is:

    $ key=value; key=value   a set of words that go together, one set is drawn per document
    > text                   a sentence that can open a story
    - text                   a sentence of its middle
    . text                   a sentence that can close it

In a template "[a|b|]" stands for one of its alternatives (they may be nested), and braces for:

    {goods}  {a goods}   a word of a drawn set, with its indefinite article
    {p1}  {p1+}          the first person of the document (the letters are in corpus_names.KINDS),
                         the "+" allows an added clause at the first mention
    {P1}  {F1}           the same as a subject: "she" or "the company" where that is clear
    {d1.bare}            the name without its article
    {p1.his}  {p1.age}   also he, him, child; "self" is the thing that an added clause is about
    {n:20-90:10} {w:2-9} {y:1950-2020}   a number (and step), a number in words, a year
    {money} {fare} {pct} {ord} {day} {month} {season} {date}   what their names say
"""

import random
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Optional

from corpus_names import KINDS, PRONOUNS, Entity, Inventory, make_entity

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([^{}]+)\}")
MENTION = re.compile(r"([a-z]\d|self)(\+|\.\w+)?", re.IGNORECASE)
RANGE = re.compile(r"([nwy]):(\d+)-(\d+)(?::(\d+))?")
VOWEL_SOUND = re.compile(r"(?!uni|use|one|eu)[aeiou]|hour|X-")

NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = (
    "January February March April May June July August September October November December"
).split()
CURRENCIES = "$€£"
SEASONS = "spring summer autumn winter".split()

CLAUSE_SHARE = 0.45  # first mentions marked "+" that get an added clause
SHORT_FIRST_SHARE = 0.5  # ... and, having it, bear the short name at once
PRONOUN_SHARE = 0.6  # subjects that are not named where they need not be


@dataclass
class Section:
    """The templates of one story, or of what all stories share.

    name (str): What the file calls it.
    words (list[dict[str, str]]): Sets of words that go together.
    opening (list[str]): Sentences that can open the story.
    middle (list[str]): Sentences of its middle.
    closing (list[str]): Sentences that can close it.
    """

    name: str
    words: list[dict[str, str]] = field(default_factory=list)
    opening: list[str] = field(default_factory=list)
    middle: list[str] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Sentence:
    """A sentence and its entities.

    text (str): The sentence.
    entities (tuple[tuple[int, int, str], ...]): Start character, end character and label of each.
    """

    text: str
    entities: tuple[tuple[int, int, str], ...]


def read_sections(path: Path) -> dict[str, Section]:
    """Read a file of templates.

    path (Path): The file.
    RETURNS (dict[str, Section]): Its sections by name, in the order of the file.
    """
    sections: dict[str, Section] = {}
    section: Optional[Section] = None
    for number, raw in enumerate(path.read_text(encoding="utf8").splitlines(), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = sections.setdefault(line[1:-1], Section(line[1:-1]))
        elif section is None or line[:2] not in ("$ ", "> ", "- ", ". "):
            raise ValueError(
                f"{path.name}, line {number}: found {line!r}, expected a section such as "
                f"'[match]' or, inside one, a line that begins with '$ ', '> ', '- ' or '. '. "
                f"The notation is explained at the top of corpus_grammar.py."
            )
        elif line[0] == "$":
            pairs = (pair.split("=") for pair in line[2:].split(";"))
            section.words.append({key.strip(): value.strip() for key, value in pairs})
        else:
            target = {">": section.opening, "-": section.middle, ".": section.closing}[line[0]]
            target.append(line[2:])
    return sections


def named_things(template: str) -> set[str]:
    """Find the things of the document that a template speaks of.

    template (str): The template.
    RETURNS (set[str]): Their keys, such as "p1".
    """
    found = (MENTION.fullmatch(body) for body in SLOT.findall(template))
    return {match[1].lower() for match in found if match and match[1] != "self"}


def choose(template: str, *, rng: random.Random) -> str:
    """Settle the alternatives of a template.

    template (str): The template.
    rng (random.Random): Source of randomness.
    RETURNS (str): The template with one alternative in the place of each bracket.
    """
    while match := CHOICE.search(template):
        option = rng.choice(match[1].split("|"))
        template = template[: match.start()] + option + template[match.end() :]
    return template


def number(kind: str, low: int, high: int, step: int, *, rng: random.Random) -> str:
    """Write a random number.

    kind (str): "n" for figures, "w" for words, "y" for a year.
    low (int): Smallest value.
    high (int): Largest value.
    step (int): Distance between values.
    rng (random.Random): Source of randomness.
    RETURNS (str): The number.
    """
    value = rng.randrange(low, high + 1, step)
    if kind == "w":
        return NUMBER_WORDS[value]
    return f"{value:,}" if kind == "n" else str(value)


def _money(rng: random.Random) -> str:
    unit = "billion" if rng.random() < 0.1 else "million"
    amount = rng.choice([f"{rng.uniform(1.1, 9.9):.1f}", str(rng.randint(2, 90))])
    return f"{rng.choice(CURRENCIES)}{amount} {unit}"


# What a slot such as {money} stands for.
PHRASES: dict[str, Callable[[random.Random], str]] = {
    "money": _money,
    "fare": lambda rng: f"{rng.choice(CURRENCIES)}{rng.randint(4, 180)}",
    "pct": lambda rng: f"{rng.randint(2, 48)}{rng.choice([' per cent', '%'])}",
    "ord": lambda rng: rng.choice(ORDINALS),
    "day": lambda rng: rng.choice(DAYS),
    "month": lambda rng: rng.choice(MONTHS),
    "season": lambda rng: rng.choice(SEASONS),
    "date": lambda rng: f"{rng.randint(1, 28)} {rng.choice(MONTHS)}",
}


class Story:
    """Writes the sentences of one document and remembers who and what they have spoken of.

    rng (random.Random): Source of randomness.
    inventory (Inventory): Where names come from.
    words (dict[str, str]): The words drawn for the document.
    clauses (dict[str, list[str]]): Clauses that can follow a first mention, by kind of thing.
    shared_stem_share (float): How often a new thing is named after another one.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        inventory: Inventory,
        words: dict[str, str],
        clauses: dict[str, list[str]],
        shared_stem_share: float = 0.15,
    ) -> None:
        self.rng = rng
        self.inventory = inventory
        self.words = words
        self.clauses = clauses
        self.shared_stem_share = shared_stem_share
        self.cast: dict[str, Entity] = {}
        self.met: set[str] = set()
        self._before: list[str] = []  # people in the sentence before
        self._people: list[str] = []  # people in this sentence
        self._text = ""
        self._entities: list[tuple[int, int, str]] = []

    def tell(self, template: str, *, link: str = "") -> Sentence:
        """Write a sentence.

        template (str): The template.
        link (str): Words to put in front.
        RETURNS (Sentence): The sentence.
        """
        self._before, self._people = self._people, []
        self._text, self._entities = link, []
        self._write(template)
        first = next(i for i, char in enumerate(self._text) if char != '"')
        text = self._text[:first] + self._text[first].upper() + self._text[first + 1 :]
        return Sentence(text, tuple(self._entities))

    def _write(self, template: str, *, about: str = "") -> None:
        chosen = choose(template, rng=self.rng)
        end = 0
        for match in SLOT.finditer(chosen):
            self._text += chosen[end : match.start()]
            end = match.end()
            self._fill(match[1], after=chosen[end : end + 1], about=about)
        self._text += chosen[end:]

    def _fill(self, body: str, *, after: str, about: str) -> None:
        if body in self.words:
            self._text += self.words[body]
        elif body.startswith("a ") and body[2:] in self.words:
            word = self.words[body[2:]]
            self._text += f"{'an' if VOWEL_SOUND.match(word) else 'a'} {word}"
        elif found := RANGE.fullmatch(body):
            low, high, step = int(found[2]), int(found[3]), int(found[4] or 1)
            self._text += number(found[1], low, high, step, rng=self.rng)
        elif found := MENTION.fullmatch(body):
            key = about if found[1] == "self" else found[1].lower()
            self._mention(key, form=found[2] or "", subject=found[1][0].isupper(), after=after)
        elif body in PHRASES:
            self._text += PHRASES[body](self.rng)
        else:
            raise ValueError(
                f"A template has the slot {{{body}}}, expected a word of its '$' lines "
                f"({', '.join(sorted(self.words))}), a named thing such as {{p1}} or a phrase "
                f"({', '.join(sorted(PHRASES))}). Correct the file in corpus_text/."
            )

    def _mention(self, key: str, *, form: str, subject: bool, after: str) -> None:
        entity = self._thing(key)
        if form == ".age":
            self._text += str(entity.age)
        elif form in (".he", ".his", ".him", ".child"):
            self._refer(key, form=form[1:])
        elif form == ".bare":
            self._name(key, entity.full, article="")
        elif key not in self.met:
            self._introduce(key, clause=form == "+", after=after)
        elif subject and self.rng.random() < PRONOUN_SHARE and self._is_clear(key):
            self._people += [key] if key[0] == "p" else []
            self._text += entity.noun if key[0] == "p" else f"the {entity.noun}"
        else:
            self._mention_again(key)

    def _thing(self, key: str) -> Entity:
        """Get a thing of the document, inventing it when it is spoken of for the first time."""
        if key in self.cast:
            return self.cast[key]
        taken = {thing.stem for thing in self.cast.values()}
        label = KINDS[key[0]]
        lendable = sorted(taken - {t.stem for t in self.cast.values() if t.label == label})
        # Founders give their name to firms, towns to clubs, and so on.
        if lendable and self.rng.random() < self.shared_stem_share:
            stem = self.rng.choice(lendable)
        else:
            stem = self.inventory.stem(rng=self.rng, taken=taken)
        self.cast[key] = make_entity(
            key[0],
            stem=stem,
            other_stem=self.inventory.stem(rng=self.rng, taken=taken | {stem}),
            inventory=self.inventory,
            rng=self.rng,
        )
        return self.cast[key]

    def _introduce(self, key: str, *, clause: bool, after: str) -> None:
        entity = self.cast[key]
        clause = clause and self.rng.random() < CLAUSE_SHARE
        short = clause and not self._is_shared(key) and self.rng.random() < SHORT_FIRST_SHARE
        self._name(key, entity.short if short else entity.full, article=entity.article)
        if clause:
            self._text += ", "
            self._write(self.rng.choice(self.clauses[key[0]]), about=key)
            self._text += "" if after in ",.;:" else ","

    def _mention_again(self, key: str) -> None:
        entity = self.cast[key]
        form, article = entity.short, entity.article
        if self.rng.random() < 0.15:
            form = entity.full
        elif key[0] == "p" and (self._is_shared(key) or self.rng.random() < 0.1):
            article = PRONOUNS[entity.noun]["title"]
        self._name(key, form, article=article)

    def _refer(self, key: str, *, form: str) -> None:
        """Write a word for a person that agrees with it, or the name where it would be unclear."""
        recent = self._people or self._before
        pronoun = PRONOUNS[self.cast[key].noun][form]
        if form == "child" or recent == [key] or (recent and recent[-1] == key):
            self._text += pronoun
            return
        self._mention_again(key)
        self._text += "'s" if form == "his" else ""

    def _name(self, key: str, name: str, *, article: str) -> None:
        self.met.add(key)
        self._people += [key] if key[0] == "p" else []
        start = len(self._text) + len(article)
        self._text += article + name
        self._entities.append((start, start + len(name), KINDS[key[0]]))

    def _is_clear(self, key: str) -> bool:
        """Whether a pronoun, or "the company" and the like, can only mean this thing."""
        if key[0] == "p":
            return set(self._before) == {key} and not self._people
        return [other for other in self.cast if other[0] == key[0]] == [key]

    def _is_shared(self, key: str) -> bool:
        stem = self.cast[key].stem
        return any(thing.stem == stem for other, thing in self.cast.items() if other != key)
