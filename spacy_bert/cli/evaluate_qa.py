"""`evaluate-qa`: answer the questions of a file in SQuAD's format, and score the answers."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple

import typer

from .init_config import check_output, write
from .progress import steps_done
from .saved_pipeline import is_pipeline, load_pipeline, one_below
from .show import table

if TYPE_CHECKING:
    from spacy.language import Language

    from ..readers.squad import Question


def evaluate_qa(
    pipeline: Path = typer.Argument(
        ..., metavar="PIPELINE", help="Folder of a saved pipeline with a span_qa."
    ),
    data: Path = typer.Argument(
        ..., metavar="DATA", help="Questions in the format of SQuAD 1.1 or 2.0, .json or .json.gz."
    ),
    output: Optional[Path] = typer.Option(
        None, "--output", "-o", help="Where to write the predictions: JSON, id -> text."
    ),
    tune: bool = typer.Option(
        False,
        "--tune",
        help='Set the threshold for "no answer" to the best for F1, in PIPELINE too.',
    ),
    limit: int = typer.Option(0, "--limit", min=0, help="Above 0: how many questions to answer."),
    batch_size: int = typer.Option(64, "--batch-size", min=1, help="Questions to buffer."),
    gpu: bool = typer.Option(False, "--gpu", "-G", help="Answer on a GPU."),
    force: bool = typer.Option(False, "--force", "-F", help="Replace OUTPUT if it exists."),
) -> None:
    """
    Answer the questions of a file in SQuAD's format, and score the answers by the official rules.

    If any of the questions has no answer, the rules are those of SQuAD 2.0: the prediction is "" where
    the null odds are above the pipeline's null_threshold, and the odds are written to a second
    file, OUTPUT with .null_odds.json at its end. "best_..." are the scores that the best thresholds
    would give. Otherwise they are those of SQuAD 1.1, and every question gets an answer.

    Questions of a file without "answers" are answered, and not scored.
    """
    files = [] if output is None else [output, output.with_name(f"{output.stem}.null_odds.json")]
    for path in files:
        check_output(path, force=force)

    if gpu:
        import spacy

        spacy.require_gpu()

    from ..evaluation.squad import evaluate_v1, evaluate_v2, tuned_threshold

    nlp, pipe = open_qa(pipeline)
    questions, is_v2 = read_questions(data, tune=tune, writes=bool(files), limit=limit)
    gold = {question.id: [text for text, _ in question.answers] for question in questions}
    texts, odds = answer(nlp, questions, batch_size=batch_size)
    if not is_v2:
        wrote = write_all(files[:1], [texts])
        show(evaluate_v1(gold, texts), f"Scores by the rules of SQuAD 1.1.{wrote}")
        return
    threshold = tuned_threshold(gold, texts, odds) if tune else pipe.null_threshold
    given = {
        name: text if threshold is None or odds[name] <= threshold else ""
        for name, text in texts.items()
    }
    wrote = write_all(files, [given, odds])
    if not all(question.is_annotated for question in questions):
        typer.echo(f"{wrote.strip()} {data} has no answers to score by.")
        return
    scores = evaluate_v2(gold, given)
    best = evaluate_v2(gold, texts, null_odds=odds)
    scores.update({key: value for key, value in best.items() if key.startswith("best_")})
    done = f"Scores by the rules of SQuAD 2.0, null_threshold {threshold}.{wrote}"
    if tune:
        save_threshold(nlp, pipe, pipeline, threshold)
        done += f" Set null_threshold in {pipeline}."
        if threshold < min(odds.values()):
            done += (
                " With it no question is answered, which scores best here (for the official script, of which "
                "best_f1_thresh is, 0 stands for that): train longer, or on more questions."
            )
    show(scores, done)


def read_questions(
    path: Path, *, tune: bool, writes: bool, limit: int = 0
) -> "Tuple[List[Question], bool]":
    """path (Path): The questions.
    tune (bool): Whether a threshold is to be found.
    writes (bool): Whether the predictions are written to a file.
    limit (int): Above 0: how many to give, the first.
    RETURNS (Tuple[List[Question], bool]): They, and whether some have no answer, so that the rules are
        those of SQuAD 2.0, whatever part of them is asked.
    RAISES: ValueError if they are not annotated as this takes."""
    from ..readers.squad import read_squad

    questions = read_squad(path, annotated=False)
    bare = [question for question in questions if not question.is_annotated]
    if bare and (tune or len(bare) < len(questions)):
        raise ValueError(
            f'{path}: {len(bare)} of {len(questions)} questions have no list "answers", {bare[0].id!r} '
            f"first. Annotate all of them, to have them scored, or none, to have them answered only."
        )
    if bare and not writes:
        raise ValueError(
            f'The questions of {path} have no "answers" to score by, and no --output was given to write '
            f"predictions to. Give one of them."
        )
    is_v2 = not all(question.answers for question in questions)
    asked = questions[: limit or None]
    if tune and all(question.answers for question in asked):
        which, remedy = (
            f"All questions of {path} have",
            "Give questions without one, too, as SQuAD 2.0 has",
        )
        if is_v2:
            which, remedy = f"The first {len(asked):,} of {path} have", "Raise --limit"
        raise ValueError(
            f'{which} an answer, so there is no threshold for "no answer" to tune. {remedy}.'
        )
    return asked, is_v2


def open_qa(path: Path) -> "Tuple[Language, Any]":
    """path (Path): Folder of a saved pipeline.
    RETURNS (Tuple[Language, SpanQA]): It, and its component that answers.
    RAISES: OSError or ValueError if it is no pipeline, or has no such component, or several."""
    from ..pipeline.span_qa import SpanQA

    if not is_pipeline(path):
        raise ValueError(
            f"{path} is no saved pipeline (there is no meta.json and config.cfg in it). Train one: "
            f"`python -m spacy_bert init-config` with --pipeline span_qa, then `spacy train`.{one_below(path)}"
        )
    nlp = load_pipeline(path)
    pipes = [pipe for _, pipe in nlp.pipeline if isinstance(pipe, SpanQA)]
    if len(pipes) != 1:
        raise ValueError(
            f"The pipeline {path} has {len(pipes)} components that answer questions (span_qa), but one "
            f"was expected. It has {', '.join(nlp.pipe_names) or 'none at all'}."
        )
    return nlp, pipes[0]


def answer(
    nlp: "Language", questions: "List[Question]", *, batch_size: int
) -> Tuple[Dict[str, str], Dict[str, float]]:
    """Answer questions, whatever the threshold.

    nlp (Language): The pipeline.
    questions (List[Question]): The questions.
    batch_size (int): How many to buffer.
    RETURNS (Tuple[Dict[str, str], Dict[str, float]]): By id the best answer ("" where there is nothing
        to choose from), and the null odds.
    """
    from ..answers import candidates, facts_of
    from ..evaluation.squad import CERTAIN
    from ..segments import make_pair

    texts: Dict[str, str] = {}
    odds: Dict[str, float] = {}
    asked = ((make_pair(nlp, q.question, q.context), q.id) for q in questions)
    with steps_done(len(questions), "questions", unit="question") as advance:
        for doc, name in nlp.pipe(asked, as_tuples=True, batch_size=batch_size):
            found = candidates(doc)
            texts[name] = found[0].text if found else ""
            value = facts_of(doc)["null_odds"]
            odds[name] = CERTAIN if value is None else value
            advance(1)
    return texts, odds


def save_threshold(nlp: "Language", pipe: Any, folder: Path, threshold: float) -> None:
    """Set the threshold of a saved pipeline, in its config. In place.

    nlp (Language): The pipeline.
    pipe (SpanQA): Its component.
    folder (Path): Where it is saved.
    threshold (float): The threshold.
    """
    nlp.get_pipe_config(pipe.name)["null_threshold"] = threshold
    write(folder / "config.cfg", nlp.config.to_str())
    cfg = {key: value for key, value in pipe.cfg.items() if key != "null_threshold"}
    write(folder / pipe.name / "cfg", json.dumps(cfg, indent=2))


def write_all(files: List[Path], contents: List[Dict[str, Any]]) -> str:
    """files (List[Path]): JSON files, each written at once; none, if none are wanted.
    contents (List[Dict[str, Any]]): What they are to hold.
    RETURNS (str): What to say of it, behind something else."""
    for path, values in zip(files, contents):
        write(path, json.dumps(values, ensure_ascii=False, indent=1) + "\n")
    return f" Wrote {' and '.join(map(str, files))}." if files else ""


def show(scores: Dict[str, float], done: str) -> None:
    """scores (Dict[str, float]): Scores by name.
    done (str): What to say below them."""
    rows: List[Tuple[str, str]] = [
        (name, f"{value:,}" if isinstance(value, int) else f"{value:8.3f}")
        for name, value in scores.items()
    ]
    typer.echo(table(rows, ("score", "value")))
    typer.echo(done)
