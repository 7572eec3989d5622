"""The experiments: which encoders and heads make their rows, and what the paper has in its tables
(Devlin et al. 2018, tables 5, 7 and 8)."""

from dataclasses import dataclass
from typing import Optional

# Encoder -> how its pretraining differs from the paper's.
ENCODERS: dict[str, list[str]] = {
    "bert": [],
    "no-nsp": ["--objective.nsp", "false"],
    "left-to-right": ["--objective.nsp", "false", "--objective.causal", "true"],
}
# Shares of the pieces to be told that are shown as [MASK], as themselves, and as a random piece.
MIXES = ((80, 10, 10), (100, 0, 0), (80, 0, 20), (80, 20, 0), (0, 20, 80), (0, 0, 100))
for mask, same, random in MIXES[1:]:
    shares = ["--objective.mask_as_mask", f"{mask / 100}", "--objective.mask_as_random"]
    ENCODERS[f"mask-{mask}-{same}-{random}"] = [*shares, f"{random / 100}"]


@dataclass(frozen=True)
class Head:
    """What is put on an encoder, and how both are trained.

    frozen (bool): Feature-based: the encoder stays as it is.
    layers (tuple[int, ...]): Whose vectors are read: -1 is the last, 0 the embeddings.
    mix (bool): Sum them with learnt weights, instead of reading them side by side.
    lstm (int): Layers of a BiLSTM on top; 0: none.
    pooling (Optional[str]): What stands for a text, if not the var `pooling`.
    """

    frozen: bool = False
    layers: tuple[int, ...] = (-1,)
    mix: bool = False
    lstm: int = 0
    pooling: Optional[str] = None


@dataclass(frozen=True)
class Experiment:
    """A table.

    title (str): What it compares.
    columns (dict[str, str]): Column -> task: "names" (entities, F1) or "topics" (accuracy).
    rows (dict[str, tuple[str, dict[str, Head]]]): Row -> encoder, and the head of each column.
    paper (str): What the paper measured.
    paper_columns (tuple[str, ...]): Its columns.
    paper_rows (dict[str, tuple[float, ...]]): Its figures.
    """

    title: str
    columns: dict[str, str]
    rows: dict[str, tuple[str, dict[str, Head]]]
    paper: str
    paper_columns: tuple[str, ...]
    paper_rows: dict[str, tuple[float, ...]]


NAMES, TOPICS, FEATURES = "names, F1", "topics, acc.", "names, features"
TUNED, TOPPED = Head(), Head(lstm=1)


def _both(encoder: str, head: Head) -> tuple[str, dict[str, Head]]:
    return encoder, {NAMES: head, TOPICS: head}


def _features(depth: int) -> dict[str, Head]:
    """The feature-based rows that an encoder has layers for: as in the paper, under a BiLSTM of two
    layers, while the encoder is frozen."""

    def head(*layers: int, mix: bool = False) -> Head:
        return Head(frozen=True, layers=layers, mix=mix, lstm=2)

    last = tuple(range(-min(4, depth), 0))
    every = tuple(range(-depth, 0))
    rows = {
        "embeddings": head(0),
        "second-to-last layer": head(-2),
        "last layer": head(-1),
        f"weighted sum of last {len(last)}": head(*last, mix=True),
        f"last {len(last)}, side by side": head(*last),
    }
    if depth > 4:
        rows[f"weighted sum of all {depth}"] = head(*every, mix=True)
    return rows


def experiments(depth: int) -> dict[str, Experiment]:
    """depth (int): Layers of the encoder.
    RETURNS (dict[str, Experiment]): The experiments by name."""
    last = tuple(range(-min(4, depth), 0))
    concatenated = Head(frozen=True, layers=last, lstm=2)
    return {
        "table5": Experiment(
            "What is learnt: pretraining tasks",
            {NAMES: "names", TOPICS: "topics"},
            {
                "MLM + NSP": _both("bert", TUNED),
                "no NSP": _both("no-nsp", TUNED),
                "left to right, no NSP": _both("left-to-right", TUNED),
                "  + BiLSTM": _both("left-to-right", TOPPED),
            },
            "table 5, BERT-base, dev sets",
            ("MNLI-m", "QNLI", "MRPC", "SST-2", "SQuAD"),
            {
                "BERT-base": (84.4, 88.4, 86.7, 92.7, 88.5),
                "no NSP": (83.9, 84.9, 86.5, 92.6, 87.9),
                "left to right, no NSP": (82.1, 84.3, 77.5, 92.1, 77.8),
                "  + BiLSTM": (82.1, 84.1, 75.7, 91.6, 84.9),
            },
        ),
        "table8": Experiment(
            "How pieces are masked: [MASK] / same / random",
            {NAMES: "names", FEATURES: "names", TOPICS: "topics"},
            {
                "/".join(map(str, mix)): (
                    "bert" if mix == MIXES[0] else "mask-{}-{}-{}".format(*mix),
                    {NAMES: TUNED, FEATURES: concatenated, TOPICS: TUNED},
                )
                for mix in MIXES
            },
            "table 8, BERT-base, dev sets",
            ("MNLI", "NER, tuned", "NER, features"),
            {
                "80/10/10": (84.2, 95.4, 94.9),
                "100/0/0": (84.3, 94.9, 94.0),
                "80/0/20": (84.1, 95.2, 94.6),
                "80/20/0": (84.4, 95.2, 94.7),
                "0/20/80": (83.7, 94.8, 94.6),
                "0/0/100": (83.6, 94.9, 94.6),
            },
        ),
        "features": Experiment(
            "Fine-tuned, and frozen with a BiLSTM on top",
            {NAMES: "names"},
            {
                "fine-tuned": ("bert", {NAMES: TUNED}),
                **{name: ("bert", {NAMES: head}) for name, head in _features(depth).items()},
            },
            "table 7, BERT-base, CoNLL-2003 dev",
            ("F1",),
            {
                "fine-tuned": (96.4,),
                "embeddings": (91.0,),
                "second-to-last layer": (95.6,),
                "last layer": (94.9,),
                "weighted sum of last 4": (95.9,),
                "last 4, side by side": (96.1,),
                "weighted sum of all 12": (95.5,),
            },
        ),
        "pooling": Experiment(
            "What stands for a text",
            {TOPICS: "topics"},
            {
                "[CLS]": ("bert", {TOPICS: Head(pooling="cls")}),
                "[CLS], pooler": ("bert", {TOPICS: Head(pooling="pooler")}),
                "mean of the pieces": ("bert", {TOPICS: Head(pooling="mean")}),
            },
            "no such table: the paper reads [CLS], after the pooler, throughout (section 4.1)",
            (),
            {},
        ),
    }
