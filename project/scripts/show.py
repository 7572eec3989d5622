"""Print the scores of a pipeline and what it finds in some texts, for a terminal."""

from pathlib import Path
from typing import Optional

import spacy
import srsly
import typer
from spacy.tokens import Doc, DocBin
from wasabi import color, msg, wrap

COLORS = {"PERSON": "cyan", "ORG": "green", "LOC": "yellow", "PRODUCT": "magenta"}
ROWS = (
    ("entities, precision", "ents_p"),
    ("entities, recall", "ents_r"),
    ("entities, F1", "ents_f"),
    ("topic, macro F1", "cats_macro_f"),
    ("topic, accuracy", "cats_micro_f"),
)


def main(
    pipeline: Path = typer.Argument(..., help="The trained pipeline"),
    docs: Path = typer.Argument(..., help="A .spacy file to take texts from"),
    scores: Optional[Path] = typer.Option(None, help="Output of `spacy evaluate`"),
    n: int = typer.Option(4, help="How many texts"),
) -> None:
    """Print the scores of a pipeline and what it finds in some texts."""
    nlp = spacy.load(pipeline)
    gold = list(DocBin().from_disk(docs).get_docs(nlp.vocab))[:n]
    for doc in nlp.pipe([doc.text for doc in gold]):
        print_doc(doc)
    if scores is not None:
        values = srsly.read_json(scores)
        msg.divider("On the test part")
        msg.table(
            [
                (name, f"{100 * values[key]:.1f}")
                for name, key in ROWS
                if values.get(key) is not None
            ],
            aligns=("l", "r"),
        )


def print_doc(doc: Doc) -> None:
    """doc (Doc): A processed Doc. Printed with its topic, entities coloured and labelled in place."""
    topic = max(doc.cats, key=lambda label: doc.cats[label])
    msg.divider(f"{topic} ({doc.cats[topic]:.2f})")
    parts, last = [], 0
    for ent in doc.ents:
        parts.append(doc.text[last : ent.start_char])
        label = color(f" {ent.label_}", fg=8)
        parts.append(color(ent.text, fg=COLORS.get(ent.label_, "blue"), bold=True) + label)
        last = ent.end_char
    print(wrap("".join([*parts, doc.text[last:]]), indent=0), "\n")


if __name__ == "__main__":
    typer.run(main)
