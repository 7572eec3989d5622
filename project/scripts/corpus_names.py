"""Invented names of people, organisations, places and products.

Every name is composed from a stem, and any stem may name anything: "Velmar" can be a person, a
company, a town or a tablet, so that only the context tells which. Likeness to a real name is an
accident of the syllables.
"""

import random
from dataclasses import dataclass

LABELS = ("PERSON", "ORG", "LOC", "PRODUCT")

# Kind of thing -> entity label. A template names a thing by its kind and a number, as in {f1}.
KINDS = {
    "p": "PERSON",
    "f": "ORG",  # firm
    "c": "ORG",  # sports club
    "u": "ORG",  # university
    "h": "ORG",  # hospital
    "g": "ORG",  # gallery or museum
    "b": "ORG",  # orchestra
    "t": "ORG",  # transport operator
    "l": "LOC",  # town
    "w": "LOC",  # lake
    "k": "LOC",  # mountain
    "i": "LOC",  # island
    "d": "PRODUCT",  # device
    "m": "PRODUCT",  # medicine
}

STEM_STARTS = (
    "Vel Ost Kes Mer Hal Zeph Aur Bran Cor Dun El Far Gal Hes Ist Jar Kor Lan Mor Nar Or Pel Quil "
    "Ros Sal Tam Ul Var Wes Yar Thal Bry Cal Dro Fen Gri Har Iv Jun Lor Mal Nev Os Pra Ren Sor "
    "Tor Und Vin Wyn"
).split()
STEM_MIDDLES = ("a", "e", "i", "o")
LONG_STEMS = 400
STEM_ENDS = (
    "mar rand trel rin low dren vane holt ock wick stane mere dale quist bane lund mond vis tane "
    "gard hurst nell rac sen tov bry cott fell gan kin lis moor nard pell rook sky thorpe vey "
    "wyn zel bourn den"
).split()
# Compositions that are words or well-known names already.
NOT_INVENTED = frozenset({"Elvis", "Fenwick", "Harden", "Harvey", "Morgan", "Organ", "Pelvis"})
# Ordinary words that are names as well. The templates also use them as plain words.
WORD_STEMS = (
    "Frost Marsh Archer Amber Falcon Granite Comet Beacon Harvest Meadow Summit Ivory Sterling "
    "Hazel Cliff Heath Storm Winter Baker Mason Fisher Carter Hope Grace Bishop Reed Flint Raven "
    "Drake Thorn Ash Birch Coral Ember Juniper Laurel Pearl Harper Orchard Miller"
).split()
FIRST_STARTS = (
    "Ma El Jo Tor Lin Ca Dei Fa Hel Ire Ka Lu Mi No Os Pe Ra Sa Te Vi Ya Bre Co Dar Em Gwe Ha Is "
    "Jas Ke Lo Mer Ni Or Pau Ros Sil Tha Ul Ves"
).split()
FIRST_ENDS = {
    "she": "ra na lia rine wen sa dith mira".split(),
    "he": "ron ven lo rik mund dan mas vik".split(),
}
# Subject pronoun -> the other words that go with it.
PRONOUNS = {
    "she": {"he": "she", "his": "her", "him": "her", "title": "Ms ", "child": "daughter"},
    "he": {"he": "he", "his": "his", "him": "him", "title": "Mr ", "child": "son"},
}

# Kind -> (article, full form, form of later mentions, what else it is called). {s} is the stem,
# {t} a second stem. The article stands outside the entity.
PATTERNS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "f": (
        ("", "{s}", "{s}", "company"),
        ("", "{s}", "{s}", "firm"),
        ("", "{s} Systems", "{s}", "company"),
        ("", "{s} & {t}", "{s} & {t}", "firm"),
        ("the ", "{s} Group", "{s}", "group"),
        ("", "{s} Brothers", "{s}", "firm"),
        ("", "{s} Works", "{s}", "company"),
        ("", "{s} Holdings", "{s}", "group"),
    ),
    "c": (
        ("", "{s}", "{s}", "club"),
        ("", "{s}", "{s}", "club"),
        ("", "{s} United", "{s}", "club"),
        ("", "{s} Rovers", "{s}", "club"),
        ("", "{s} Athletic", "{s}", "club"),
        ("", "Racing {s}", "{s}", "club"),
    ),
    "u": (
        ("", "{s} University", "{s}", "university"),
        ("the ", "University of {s}", "University of {s}", "university"),
        ("the ", "{s} Institute", "{s} Institute", "institute"),
        ("", "{s} College", "{s}", "college"),
    ),
    "h": (
        ("", "{s} General Hospital", "{s} General", "hospital"),
        ("", "St {s} Hospital", "St {s}", "hospital"),
        ("the ", "{s} Clinic", "{s} Clinic", "clinic"),
        ("the ", "{s} Infirmary", "{s}", "hospital"),
    ),
    "g": (
        ("the ", "{s} Museum", "{s}", "museum"),
        ("the ", "{s} Gallery", "{s} Gallery", "gallery"),
        ("the ", "Museum of {s}", "Museum of {s}", "museum"),
        ("the ", "{s}", "{s}", "gallery"),
    ),
    "b": (
        ("the ", "{s} Philharmonic", "{s} Philharmonic", "orchestra"),
        ("the ", "{s} Ensemble", "{s} Ensemble", "ensemble"),
        ("the ", "{s} Players", "{s} Players", "ensemble"),
    ),
    "t": (
        ("", "{s}", "{s}", "operator"),
        ("", "{s} Lines", "{s}", "operator"),
        ("", "{s} Travel", "{s} Travel", "operator"),
        ("", "{s} Express", "{s}", "operator"),
    ),
    "l": (
        ("", "{s}", "{s}", "town"),
        ("", "{s}", "{s}", "town"),
        ("", "{s}", "{s}", "town"),
        ("", "Port {s}", "Port {s}", "town"),
        ("", "{s} Bay", "{s} Bay", "town"),
        ("", "New {s}", "New {s}", "town"),
        ("", "{s}ford", "{s}ford", "town"),
        ("", "Upper {s}", "{s}", "town"),
    ),
    "w": (
        ("", "Lake {s}", "Lake {s}", "lake"),
        ("", "{s} Water", "{s} Water", "lake"),
        ("", "{s} Lake", "{s} Lake", "lake"),
    ),
    "k": (
        ("", "Mount {s}", "{s}", "mountain"),
        ("", "{s} Peak", "{s} Peak", "mountain"),
        ("", "{s}", "{s}", "mountain"),
    ),
    "i": (
        ("", "{s} Island", "{s} Island", "island"),
        ("", "{s}", "{s}", "island"),
        ("", "Little {s}", "Little {s}", "island"),
    ),
    "d": (
        ("the ", "{s} 3", "{s}", "device"),
        ("the ", "{s}", "{s}", "device"),
        ("", "{s}", "{s}", "device"),
        ("the ", "{s} X2", "{s} X2", "device"),
        ("", "{s} One", "{s}", "device"),
        ("the ", "{s}ite", "{s}ite", "device"),
        ("the ", "{l}", "{l}", "device"),
    ),
    "m": (
        ("", "{s}", "{s}", "drug"),
        ("", "{l}", "{l}", "drug"),
        ("", "{s}ol", "{s}ol", "medicine"),
        ("", "{l}ine", "{l}ine", "drug"),
    ),
}


@dataclass(frozen=True)
class Entity:
    """A named thing in one document.

    label (str): Entity label.
    stem (str): The part of the name that other things may bear too.
    article (str): What stands before the name and outside the entity, such as "the ".
    full (str): The full name.
    short (str): The name in later mentions.
    noun (str): What it is called when it is not named: "company"; for a person "she" or "he".
    age (int): Age in years, used for people only.
    """

    label: str
    stem: str
    article: str
    full: str
    short: str
    noun: str
    age: int


@dataclass(frozen=True)
class Inventory:
    """The stems and first names that one part of the corpus draws its names from.

    stems (tuple[str, ...]): Stems of this part alone.
    firsts (tuple[tuple[str, str], ...]): First names of this part alone, each with its pronoun.
    common_stems (tuple[str, ...]): Stems that every part uses.
    common_firsts (tuple[tuple[str, str], ...]): First names that every part uses.
    common_share (float): How often a name is drawn from the common stems or first names.
    """

    stems: tuple[str, ...]
    firsts: tuple[tuple[str, str], ...]
    common_stems: tuple[str, ...]
    common_firsts: tuple[tuple[str, str], ...]
    common_share: float = 0.1

    def stem(self, *, rng: random.Random, taken: set[str]) -> str:
        """Draw a stem that the document does not use yet.

        rng (random.Random): Source of randomness.
        taken (set[str]): Stems in use.
        RETURNS (str): The stem.
        """
        while True:
            pool = self.common_stems if rng.random() < self.common_share else self.stems
            stem = rng.choice(pool)
            if stem not in taken:
                return stem

    def first(self, *, rng: random.Random) -> tuple[str, str]:
        """Draw a first name.

        rng (random.Random): Source of randomness.
        RETURNS (tuple[str, str]): The name and its pronoun, "she" or "he".
        """
        return rng.choice(self.common_firsts if rng.random() < self.common_share else self.firsts)


# Part of the corpus -> how many stems, words that are names, and first names it owns.
POOL_SIZES = {
    "common": (12, 4, 10),
    "test": (130, 10, 70),
    "dev": (90, 6, 50),
    "train": (130, 10, 70),
    # As many as are left: names that are rare are read in pieces, as are those of the test part.
    "raw": (1900, 10, 430),
}


def make_inventories(*, rng: random.Random) -> dict[str, Inventory]:
    """Compose all names and deal them out, so that no part has a name of another part's own.

    rng (random.Random): Source of randomness.
    RETURNS (dict[str, Inventory]): Inventories of "train", "dev", "test" and "raw".
    """
    plain = [s + e for s in STEM_STARTS for e in STEM_ENDS]
    longer = [s + m + e for s in STEM_STARTS for m in STEM_MIDDLES for e in STEM_ENDS]
    # A dict keeps the first of equal compositions and, unlike a set, the order.
    stems = list(dict.fromkeys(plain + rng.sample(longer, k=LONG_STEMS)))
    stems = [stem for stem in stems if stem not in NOT_INVENTED]
    words = list(WORD_STEMS)
    firsts = [(s + e, g) for s in FIRST_STARTS for g in PRONOUNS for e in FIRST_ENDS[g]]
    for pool in (stems, words, firsts):
        rng.shuffle(pool)
    own: dict[str, tuple[tuple[str, ...], tuple[tuple[str, str], ...]]] = {}
    for part, (n_stems, n_words, n_firsts) in POOL_SIZES.items():
        own[part] = (
            tuple(stems.pop() for _ in range(n_stems)) + tuple(words.pop() for _ in range(n_words)),
            tuple(firsts.pop() for _ in range(n_firsts)),
        )
    common = own.pop("common")
    return {part: Inventory(*pools, *common) for part, pools in own.items()}


def make_entity(
    kind: str, *, stem: str, other_stem: str, inventory: Inventory, rng: random.Random
) -> Entity:
    """Invent a named thing.

    kind (str): Key of `KINDS`.
    stem (str): Stem of the name.
    other_stem (str): Second stem, for names such as "Ostrand & Kell".
    inventory (Inventory): Where a person's first name comes from.
    rng (random.Random): Source of randomness.
    RETURNS (Entity): The thing.
    """
    age = rng.randint(24, 74)
    if kind == "p":
        first, pronoun = inventory.first(rng=rng)
        initial = rng.random() < 0.12
        full = f"{first[0]}. {stem}" if initial else f"{first} {stem}"
        return Entity("PERSON", stem, "", full, stem, pronoun, age)
    article, full, short, noun = rng.choice(PATTERNS[kind])
    parts = {"s": stem, "t": other_stem, "l": stem.lower()}
    return Entity(
        KINDS[kind], stem, article, full.format(**parts), short.format(**parts), noun, age
    )
