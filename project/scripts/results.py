"""Print what the pretraining was worth, and what the pipeline finds in some texts, for a terminal."""

import json
from pathlib import Path
from typing import Any, Optional

import spacy
import srsly
import typer
from spacy.tokens import Doc, DocBin
from wasabi import color, msg, wrap

COLORS = ("cyan", "green", "yellow", "magenta", "blue", "red")
# Of what is compared: name, its key in the scores of `spacy evaluate`, and the key of the simple
# method beside it in what baseline.py writes, with that method's name.
ROWS = (
    ("entities, F1", "ents_f", "name_lookup_ents_f", "name lookup"),
    ("topic, accuracy", "cats_micro_f", "bag_of_words_topic", "bag of words"),
)


def main(
    pipeline: Path = typer.Argument(..., exists=True, help="The trained pipeline."),
    docs: Path = typer.Argument(..., exists=True, help="A .spacy file to take texts from."),
    metrics: Path = typer.Option(..., exists=True, help="Folder of the scores."),
    run: Path = typer.Option(..., help="Folder of the pretraining run, if there is one."),
    packages: Path = typer.Option(..., help="Folder of the wheel."),
    n: int = typer.Option(3, min=0, help="How many texts to show."),
) -> None:
    """Print a table of all scores, gaps that the pretrained encoder fills, and analysed texts."""
    nlp = spacy.load(pipeline)
    held_out = best_evaluation(run)
    for doc in nlp.pipe(text for text in texts_of(docs, n)):
        print_doc(doc, labels=nlp.pipe_labels.get("ner", []))
    if held_out is not None and held_out["samples"]:
        msg.divider("Gaps in held-out sentences, and what the encoder would put there")
        for sample in held_out["samples"]:
            print_sample(sample)
    msg.divider("Results")
    if held_out is not None:
        print_held_out(held_out)
    scores = collect(metrics)
    rows = [
        [name, *(percent(scores.get(key)) for key in keys), percent(scores.get(simple)), method]
        for name, _, simple, method in ROWS
        for keys in [(f"pretrained {name}", f"random {name}")]
        if keys[0] in scores
    ]
    header = ["on the test part, %", "pretrained", "random weights", "simple", ""]
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r", "l"))
    for wheel in sorted(packages.glob("*.whl")):
        print(f"To install the pipeline: pip install {wheel.resolve()}")


def collect(metrics: Path) -> dict[str, float]:
    """metrics (Path): Folder of the scores.
    RETURNS (dict[str, float]): All of them that are there, by their names in the table."""
    found: dict[str, float] = {}
    for start in ("pretrained", "random"):
        file = metrics / f"{start}.json"
        scores = srsly.read_json(file) if file.exists() else {}
        for name, key, _, _ in ROWS:
            # Pipelines without the pipe have no score, or None.
            if scores.get(key) is not None:
                found[f"{start} {name}"] = scores[key]
    simple = metrics / "baseline.json"
    return {**found, **(srsly.read_json(simple) if simple.exists() else {})}


def best_evaluation(run: Path) -> Optional[dict[str, Any]]:
    """run (Path): Folder of a pretraining run.
    RETURNS (Optional[dict[str, Any]]): Its evaluation with the lowest loss, that of
        checkpoint-best; None if there is none."""
    file = run / "metrics.jsonl"
    lines = file.read_text(encoding="utf8").splitlines() if file.exists() else []
    events = [json.loads(line) for line in lines]
    evaluations = [event for event in events if event["event"] == "eval"]
    return min(evaluations, key=_loss, default=None)


def _loss(evaluation: dict[str, Any]) -> float:
    return float(evaluation["mlm_loss"] or 0) + float(evaluation["nsp_loss"] or 0)


def texts_of(docs: Path, n: int) -> list[str]:
    """docs (Path): A .spacy file.
    n (int): How many.
    RETURNS (list[str]): Its first texts."""
    vocab = spacy.blank("xx").vocab
    return [doc.text for doc, _ in zip(DocBin().from_disk(docs).get_docs(vocab), range(n))]


def print_held_out(evaluation: dict[str, Any]) -> None:
    """evaluation (dict[str, Any]): An evaluation of the pretraining run."""
    parts = []
    if evaluation["mlm_loss"] is not None:
        parts.append(
            f"masked pieces: {percent(evaluation['mlm_accuracy'])} % right (always the most "
            f"frequent one: {percent(evaluation['mlm_baseline'])} %), perplexity "
            f"{evaluation['mlm_perplexity']:.1f}"
        )
    if evaluation["nsp_loss"] is not None:
        parts.append(
            f"next sentence: {percent(evaluation['nsp_accuracy'])} % right (half of the pairs, or a few more, do not follow)"
        )
    print(f"Pretraining, on held-out documents, after {evaluation['step']:,} steps:")
    for part in parts:
        print(f"  {part}")
    print()


def print_sample(sample: dict[str, Any]) -> None:
    """sample (dict[str, Any]): A text with a gap, and what the encoder would put there."""
    guesses = ", ".join(f"{piece} {share:.0%}" for piece, share in sample["predictions"][:3])
    print(wrap(sample["text"], indent=2))
    print(f"      {color(guesses, fg='green')}; it was {color(sample['answer'], bold=True)}")


def print_doc(doc: Doc, *, labels: list[str]) -> None:
    """doc (Doc): A processed Doc. Printed with its topic, entities coloured and labelled in place.
    labels (list[str]): All labels of entities."""
    topic = max(doc.cats, key=lambda label: doc.cats[label], default="")
    msg.divider(f"{topic} ({doc.cats[topic]:.2f})" if topic else "")
    parts, last = [], 0
    for ent in doc.ents:
        parts.append(doc.text[last : ent.start_char])
        shade = COLORS[labels.index(ent.label_) % len(COLORS)] if ent.label_ in labels else "blue"
        parts.append(color(ent.text, fg=shade, bold=True) + color(f" {ent.label_}", fg=8))
        last = ent.end_char
    print(wrap("".join([*parts, doc.text[last:]]), indent=0), "\n")


def percent(share: Optional[float]) -> str:
    """share (Optional[float]): From 0 to 1.
    RETURNS (str): The same in per cent; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}"


if __name__ == "__main__":
    typer.run(main)
