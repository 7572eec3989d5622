"""What a trained pipeline scores, and how fast it is, in each precision.

    python benchmarks/precision.py PIPELINE DEV.spacy [--name ner] [--rounds 3]

The precisions take turns; the scores are those of `nlp.evaluate`. Writes JSON and a table to
benchmarks/results/.
"""

import statistics
import time
from pathlib import Path
from typing import Any, Dict, List

import spacy
import srsly
import typer
from spacy.training import Corpus

HERE = Path(__file__).parent
PRECISIONS = ("fp32", "bf16", "int8")


def main(
    pipeline: Path = typer.Argument(..., help="A trained pipeline with a `bert`"),
    dev: Path = typer.Argument(..., help="Annotated texts, as .spacy"),
    scores: str = typer.Option("ents_f,cats_score,score_spearman", help="Which scores to show"),
    name: str = typer.Option("precision", help="Name of the results"),
    rounds: int = typer.Option(3, help="How often each is timed"),
    output: Path = typer.Option(HERE / "results", help="Folder of the results"),
) -> None:
    """Score a pipeline in each precision."""
    nlp = spacy.load(pipeline)
    bert: Any = nlp.get_pipe("bert")
    examples = list(Corpus(dev)(nlp))
    texts = [example.reference.text for example in examples]
    words = sum(len(example.reference) for example in examples)
    results: Dict[str, Dict[str, Any]] = {}
    for precision in PRECISIONS:
        bert.inference = precision
        found = nlp.evaluate(examples)
        chosen = {key: found[key] for key in scores.split(",") if found.get(key) is not None}
        results[precision] = {"engine": bert.engine, "scores": chosen, "seconds": []}
    for _ in range(rounds):
        for precision in PRECISIONS:
            bert.inference = precision
            nlp(texts[0])
            start = time.perf_counter()
            for _ in nlp.pipe(texts, batch_size=128):
                pass
            results[precision]["seconds"].append(time.perf_counter() - start)
    exact: List[float] = results["fp32"]["seconds"]
    keys = list(results["fp32"]["scores"])
    lines = [
        f"| precision | {' | '.join(keys)} | words/s | against fp32 |",
        "|---|" + "--:|" * (len(keys) + 2),
    ]
    for precision, result in results.items():
        ratio = statistics.median(a / b for a, b in zip(exact, result["seconds"]))
        values = " | ".join(f"{result['scores'][key]:.4f}" for key in keys)
        speed = words / statistics.median(result["seconds"])
        lines.append(f"| {precision} | {values} | {speed:,.0f} | {ratio:.2f} |")
    table = "\n".join(lines) + "\n"
    print(table)
    output.mkdir(parents=True, exist_ok=True)
    srsly.write_json(output / f"{name}.json", {"words": words, **results})
    (output / f"{name}.md").write_text(table, encoding="utf8")


if __name__ == "__main__":
    typer.run(main)
