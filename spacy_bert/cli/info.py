"""`info`: what a folder holds.

A kind of folder is a line of `KINDS`: how to tell it, and what to say of it.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, List, NamedTuple, Tuple

import typer

from .saved_pipeline import FILES, load_pipeline, models_of, one_below
from .show import table

if TYPE_CHECKING:
    from thinc.api import Model
    from torch import Tensor

    from ..encoder import BertConfig
    from ..wordpiece import WordPieceTokenizer

# What to say: name -> value, in order.
Facts = Dict[str, object]
# Under which heading.
Sections = List[Tuple[str, Facts]]


def info(
    path: Path = typer.Argument(
        ...,
        metavar="PATH",
        help="A checkpoint, a saved pipeline, a vocabulary, a token store or a run.",
    ),
) -> None:
    """Say what a folder holds: sizes, weights, vocabulary; of a pipeline, what each pipe does."""
    for heading, facts in describe(path):
        typer.secho(heading, bold=True)
        typer.echo(table([(f"  {name}", value) for name, value in facts.items()]) + "\n")


def describe(path: Path) -> Sections:
    """path (Path): A folder.
    RETURNS (Sections): What to say of it.
    RAISES: OSError or ValueError if it holds nothing that is known."""
    path = path.expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no {path} (looked from {Path.cwd()}). Check the path.")
    if not path.is_dir():
        remedy = "Give the folder that it is in."
        if path.suffix == ".spacy":
            remedy = "Its ending says that it holds annotated texts: `python -m spacy debug data` describes them."
        raise NotADirectoryError(f"{path} is a file. {remedy}")
    for kind in KINDS:
        if all((path / file).is_file() for file in kind.files):
            return kind.describe(path)
    there = sorted(entry.name for entry in path.iterdir())
    found = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    expected = "; ".join(f"{kind.name}: {' and '.join(kind.files)}" for kind in KINDS)
    raise ValueError(
        f"{path} holds nothing that is known. Found: {found or 'nothing'}. Expected one of: "
        f"{expected}. Check the path.{one_below(path)}"
    )


def describe_pipeline(path: Path) -> Sections:
    """path (Path): Folder of a saved pipeline.
    RETURNS (Sections): What to say of it."""
    nlp = load_pipeline(path)
    meta, models = nlp.meta, models_of(nlp)
    sections: Sections = [
        (
            f"Pipeline {path}",
            {
                "name": f"{meta['lang']}_{meta['name']} {meta['version']}, for spaCy {meta['spacy_version']}",
                "pipes": " > ".join(nlp.component_names),
                "disabled": ", ".join(nlp.disabled) or "none",
                "parameters": _millions(sum(map(count_parameters, models.values()))),
                "scores": _scores(meta.get("performance") or {}) or "none",
            },
        )
    ]
    for name, pipe in nlp.components:
        facts: Facts = {"factory": nlp.get_pipe_meta(name).factory, **_pipe_facts(pipe)}
        if name in models:
            facts.update(_model_facts(models[name]))
        sections.append((f"[{name}]", facts))
    return sections


def _pipe_facts(pipe: Any) -> Facts:
    facts: Facts = {}
    if getattr(pipe, "marks_segments", False):
        facts["separator"] = repr(pipe.separator)
    labels = getattr(pipe, "labels", ())
    if labels:
        # Some are rules, or numbers of rules, that say nothing to people: spaCy's own flag.
        shown = () if getattr(pipe, "hide_labels", False) else labels[:12]
        more = ", ..." * (len(labels) > len(shown) > 0)
        facts["labels"] = f"{len(labels)}{': ' * bool(shown)}{', '.join(shown)}{more}"
    if hasattr(pipe, "listening_components"):
        facts["listeners"] = ", ".join(pipe.listening_components) or "none"
    if hasattr(pipe, "inference"):
        facts["predicts in"] = pipe.engine if pipe.is_loaded else pipe.inference
    return facts


def _model_facts(model: "Model") -> Facts:
    from ..encoder import BertConfig
    from ..layers.doc_encoder import find_part, has_encoder
    from ..layers.listeners import BertListenerModel
    from ..layers.piece_listener import PieceListenerModel

    facts: Facts = {"parameters": _millions(count_parameters(model))}
    for node in model.walk():
        if isinstance(node, BertListenerModel):
            vectors = "pieces" if isinstance(node, PieceListenerModel) else "tokens"
            vectors = getattr(node, "pooling", vectors)
            facts["listens to"] = f"{node.encoder or node.upstream} ({vectors})"
    if has_encoder(model):
        windows = find_part(model, "doc-windows").attrs
        facts.update(network_facts(BertConfig(**find_part(model, "doc-encoder").attrs["sizes"])))
        facts["windows"] = f"up to {windows['window']} pieces, stride {windows['stride']}"
        if windows["tokenizer"].tokenizer is None:
            facts["weights"] = "none: no checkpoint was loaded before it was saved"
        else:
            facts.update(vocabulary_facts(windows["tokenizer"].tokenizer))
    return facts


def count_parameters(model: "Model") -> int:
    """model (Model): A Thinc model.
    RETURNS (int): The number of its parameters, those of torch modules in it included."""
    count = 0
    for node in model.walk():
        count += sum(node.get_param(name).size for name in node.param_names if node.has_param(name))
        for shim in node.shims:
            count += sum(p.numel() for p in getattr(shim._model, "parameters", list)())
    return count


def describe_checkpoint(path: Path) -> Sections:
    """path (Path): Folder of a checkpoint.
    RETURNS (Sections): What to say of it."""
    from ..encoder import load_checkpoint
    from .pooling import choose_pooling

    checkpoint = load_checkpoint(path)
    assert checkpoint.tokenizer is not None
    pooling = choose_pooling(checkpoint)
    heads = {"pooler": "pooler", "mlm": "masked language model", "nsp": "next sentence"}
    return [
        (
            f"Checkpoint {path}",
            {
                **network_facts(checkpoint.config),
                "parameters": _parameters_by_part(checkpoint.weights),
                "heads": ", ".join(heads[part] for part in heads if part in checkpoint.parts)
                or "none",
                "text vector": f"{pooling.name}: {pooling.reason}",
                **vocabulary_facts(checkpoint.tokenizer),
            },
        )
    ]


def describe_run(path: Path) -> Sections:
    """path (Path): Folder of a pretraining run, whether it has ended or not.
    RETURNS (Sections): What to say of it."""
    from ..pretraining.report_facts import facts, figures
    from ..pretraining.run_log import read_run

    run = read_run(path)
    stands = {name: f"{value} {note}".strip() for name, value, note in figures(run)}
    checkpoints = sorted(folder.name for folder in path.glob("checkpoint-*") if folder.is_dir())
    states = sorted(int(state.name.split("-")[0]) for state in path.glob("state/*.safetensors"))
    return [
        (f"Pretraining run {path}", {**facts(run)}),
        (
            "How it stands",
            {
                **stands,
                "checkpoints": ", ".join(checkpoints) or "none yet",
                "can resume after": ", ".join(f"step {step:,}" for step in states) or "nothing yet",
            },
        ),
    ]


def describe_vocabulary(path: Path) -> Sections:
    """path (Path): Folder of a vocabulary.
    RETURNS (Sections): What to say of it."""
    from ..wordpiece import WordPieceTokenizer

    return [(f"Vocabulary {path}", vocabulary_facts(WordPieceTokenizer.from_disk(path)))]


def describe_store(path: Path) -> Sections:
    """path (Path): Folder of a token store.
    RETURNS (Sections): What to say of it, once all of it has been read.
    RAISES (ValueError): It is damaged."""
    from ..pretraining.store import TokenStore

    store = TokenStore.open(path)
    store.verify()
    found, names = store.manifest, store.tokenizer.pieces
    size = sum(content.bytes for content in found.files.values())
    read = sum(source.bytes for source in found.sources)
    files = ", ".join(source.name for source in found.sources[:4])
    more = len(found.sources) - 4
    start = " ".join(names[i] for i in store.pieces[:24].tolist())
    facts: Facts = {
        "documents": f"{found.n_documents:,}"
        + f", and {found.n_without_pieces:,} without text" * bool(found.n_without_pieces),
        "sentences": f"{found.n_sentences:,}, of {found.n_pieces / found.n_sentences:.1f} "
        "pieces on average",
        "pieces": f"{found.n_pieces:,}, {store.pieces.itemsize} bytes each",
        "unknown": f"{found.n_unknown:,}, {found.n_unknown / found.n_pieces:.2%}",
        "most frequent": f"{names[found.most_frequent_id]}, "
        f"{found.most_frequent_share:.2%}: the least that a masked LM has to beat",
        "begins": start,
        **vocabulary_facts(store.tokenizer),
        "sources": f"{len(found.sources):,} files, {read / 1e6:,.1f} MB: {files}"
        + f" and {more:,} more" * (more > 0)
        if found.sources
        else "none: it was not made of files",
        "reader": found.reader or "none",
        "splitter": found.splitter or "none",
        "size": f"{size / 1e6:,.1f} MB, all checksums are right",
        "fingerprint": store.fingerprint,
    }
    return [(f"Token store {path}", facts)]


def network_facts(config: "BertConfig") -> Facts:
    """config (BertConfig): The sizes of a network.
    RETURNS (Facts): What to say of it."""
    return {
        "network": (
            f"{config.depth} layers, width {config.width}, {config.heads} heads, "
            f"inner width {config.intermediate_width}, {config.activation}"
            f"{', left to right' if config.causal else ''}"
        ),
        "positions": f"{config.max_positions}, {config.type_vocab_size} segment types",
        "dropout": f"{config.hidden_dropout}, attention {config.attention_dropout}",
    }


def vocabulary_facts(tokenizer: "WordPieceTokenizer") -> Facts:
    """tokenizer (WordPieceTokenizer): A tokenizer.
    RETURNS (Facts): What to say of it."""
    settings = tokenizer.settings
    case = "uncased" if settings.lowercase else "cased"
    accents = "stripped" if settings.strips_accents else "kept"
    specials = ", ".join(
        f"{piece} {getattr(tokenizer, f'{name}_id')}" for name, piece in settings.specials.items()
    )
    return {
        "vocabulary": f"{len(tokenizer):,} pieces, {case}, accents {accents}",
        "special pieces": specials,
    }


def _parameters_by_part(weights: "Dict[str, Tensor]") -> str:
    sizes: Dict[str, int] = {}
    for name, tensor in weights.items():
        part = name.split(".")[1] if name.startswith("encoder.") else name.split(".")[0]
        sizes[part] = sizes.get(part, 0) + tensor.numel()
    parts = ", ".join(f"{part} {_millions(size)}" for part, size in sizes.items())
    return f"{_millions(sum(sizes.values()))}: {parts}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def _scores(performance: Dict[str, Any]) -> str:
    """The main scores of a trained pipeline, of those that are numbers."""
    endings = ("_f", "_acc", "_score", "_uas", "_las", "_f1", "_exact", "_pearson", "_spearman")
    return ", ".join(
        f"{name} {value:.3f}"
        for name, value in performance.items()
        if name.endswith(endings) and isinstance(value, float)
    )


class Kind(NamedTuple):
    """A kind of folder.

    name (str): What to call it.
    files (Tuple[str, ...]): The files by which it is known.
    describe (Callable[[Path], Sections]): What to say of it.
    """

    name: str
    files: Tuple[str, ...]
    describe: Callable[[Path], Sections]


# The first whose files are all there is it.
KINDS: Iterable[Kind] = (
    Kind("pipeline", FILES, describe_pipeline),
    Kind("checkpoint", ("config.json",), describe_checkpoint),
    Kind("pretraining run", ("config.cfg", "metrics.jsonl"), describe_run),
    Kind("token store", ("manifest.json", "pieces.bin"), describe_store),
    Kind("vocabulary", ("vocab.txt",), describe_vocabulary),
    Kind("vocabulary", ("tokenizer.json",), describe_vocabulary),
)
