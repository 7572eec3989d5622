"""Runs as a whole: what they leave, how they go on, and what stops them."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch

from spacy_bert.encoder import load_checkpoint, save_checkpoint
from spacy_bert.pretraining import loop as loop_module
from spacy_bert.pretraining import metrics as metrics_module
from spacy_bert.pretraining.interrupt import Interrupt
from spacy_bert.pretraining.loop import Loop, pretrain
from spacy_bert.pretraining.objective import PretrainingModel

from .runs import make_config, make_store, run_here, same_checkpoints


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "store"
    make_store(path)
    return path


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    result = run_here(make_config(store), output)
    assert result.finished and result.step == 24 and result.stopped_by is None
    return output


def events(run: Path, kind: str) -> List[Dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf8").splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: have the process be sent a signal in the middle of some step."""

    def arrange(step: int, number: signal.Signals = signal.SIGTERM) -> None:
        take_step = Loop.step

        def step_and_signal(self: Loop) -> None:
            if self.progress.step == step:
                os.kill(os.getpid(), number)
            take_step(self)

        monkeypatch.setattr(Loop, "step", step_and_signal)

    return arrange


# What a run leaves.


def test_what_is_left(whole: Path, store: Path) -> None:
    """Catches a checkpoint that HuggingFace cannot open, events that the report misses, and a
    config.cfg that is not what was run."""
    transformers = pytest.importorskip("transformers")
    for name in ("checkpoint-best", "checkpoint-last"):
        model, info = transformers.BertForPreTraining.from_pretrained(
            whole / name, output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert load_checkpoint(whole / name).parts == {"encoder", "pooler", "mlm", "nsp"}
    assert (whole / "config.cfg").read_text() == make_config(store).to_str()
    assert len(list((whole / "state").iterdir())) == 2
    assert [event["step"] for event in events(whole, "train")] == [4, 8, 12, 16, 20, 24]
    assert [event["step"] for event in events(whole, "eval")] == [0, 6, 12, 18, 24]
    [start] = events(whole, "start")
    assert start["parameters"] == sum(p.numel() for p in model.parameters())
    for event in events(whole, "train"):
        assert event["loss"] == pytest.approx(event["mlm_loss"] + event["nsp_loss"])
        assert 0 < event["mfu"] < 1 and event["pieces_per_second"] > 0 and event["grad_norm"] > 0
        assert event["learn_rate"] > 0
    pieces = [event["pieces"] for event in events(whole, "train")]
    assert pieces == sorted(pieces) and pieces[-1] > 24 * 2 * 192 * 0.7


def test_it_learns(whole: Path) -> None:
    """Catches a loop that does everything but learn."""
    first, *_, last = events(whole, "eval")
    assert last["mlm_loss"] < first["mlm_loss"] - 0.1
    assert last["mlm_loss"] == pytest.approx(torch.tensor(last["mlm_perplexity"]).log().item())
    sample = last["samples"][0]
    assert sample["text"].count("[MASK]") == 1 and len(sample["predictions"]) == 5
    assert len(last["samples"]) == 2
    assert 0 < last["mlm_baseline"] < 0.2


def test_best_is_the_best(store: Path, tmp_path: Path) -> None:
    """Catches a best checkpoint that is always the last one, or the first: the rate is raised until
    the run spoils what it has learnt."""
    config = make_config(
        store,
        {"optimizer.learn_rate": 1.0, "optimizer.warmup_steps": 40, "training.max_steps": 20,
         "optimizer.schedule": "constant"},
    )  # fmt: skip
    result = run_here(config, tmp_path / "run")
    scores = {e["step"]: e["mlm_loss"] + e["nsp_loss"] for e in events(tmp_path / "run", "eval")}
    assert result.best_step == min(scores, key=scores.__getitem__) != 20
    assert not same_files_of(tmp_path / "run")


def same_files_of(run: Path) -> bool:
    weights = [run / n / "model.safetensors" for n in ("checkpoint-best", "checkpoint-last")]
    return weights[0].read_bytes() == weights[1].read_bytes()


def test_without_evaluation(store: Path, tmp_path: Path) -> None:
    """Catches a run that needs held-out documents, and one that leaves no best checkpoint."""
    config = make_config(store, {"training.held_out": 0.0, "training.max_steps": 3})
    result = run_here(config, tmp_path / "run")
    assert result.finished and result.evaluation is None and result.best_step == -1
    assert same_files_of(tmp_path / "run") and not events(tmp_path / "run", "eval")


@pytest.mark.parametrize(
    "changes",
    [
        {"objective.nsp": False, "objective.causal": True},
        {"objective.nsp": False, "objective.whole_word": True},
        {"training.gradient_checkpointing": True, "training.precision": "fp32"},
        {"training.eval_pieces": 0, "training.accumulate": 1},
    ],
)
def test_options(changes: Dict[str, Any], store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches an option that fails, or that changes nothing."""
    result = run_here(make_config(store, changes), tmp_path / "run")
    assert result.finished
    [start] = events(tmp_path / "run", "start")
    assert start["precision"] == "fp32" or "training.precision" not in changes
    # Recomputing layers changes no weight, where 32 bits are not a change either.
    [before] = events(whole, "start")
    is_exact = changes.get("training.gradient_checkpointing") and before["precision"] == "fp32"
    assert same_checkpoints_or_parts(tmp_path / "run", whole) == bool(is_exact)
    if changes.get("objective.nsp") is False:
        assert load_checkpoint(result.checkpoint_best).parts == {"encoder", "mlm"}
        assert all(event["nsp_loss"] is None for event in events(tmp_path / "run", "train"))


def same_checkpoints_or_parts(one: Path, other: Path) -> bool:
    weights = [load_checkpoint(run / "checkpoint-last").weights for run in (one, other)]
    return weights[0].keys() == weights[1].keys() and all(
        torch.equal(weights[0][name], weights[1][name]) for name in weights[0]
    )


# Going on.


@pytest.mark.parametrize("step", [0, 7, 13, 15, 23])
def test_sigterm_and_resume(
    step: int, store: Path, whole: Path, tmp_path: Path, stop_after: Any, capfd: Any
) -> None:
    """Catches a state that lacks something: in the middle of an epoch, of a line of metrics, of an
    accumulated step, right before the sequences become longer, before the last step."""
    config, output = make_config(store), tmp_path / "run"
    stop_after(step)
    torch.set_num_threads(1)
    result = pretrain(config, output)
    assert (result.step, result.finished, result.stopped_by) == (step + 1, False, "SIGTERM")
    assert "SIGTERM: saved after step" in capfd.readouterr().err
    stop_after(10**9)
    result = pretrain(config, output, resume=True)
    assert result.finished
    assert f"after step {step + 1} (epoch" in capfd.readouterr().err
    assert same_checkpoints(output, whole)
    for kind in ("train", "eval"):
        times = {"seconds", "pieces_per_second", "mfu", "seconds_left"}
        resumed, expected = (
            [{k: v for k, v in e.items() if k not in times} for e in events(run, kind)]
            for run in (output, whole)
        )
        assert resumed == expected


def test_the_state_before_a_torn_one(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a run that ends otherwise because its last state was torn."""
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    last = max((output / "state").iterdir())
    last.write_bytes(last.read_bytes()[:-7])
    shutil.rmtree(output / "checkpoint-last")
    assert run_here(make_config(store), output, resume=True).finished
    assert same_checkpoints(output, whole)
    assert [event["step"] for event in events(output, "resume")] == [20]
    assert [event["step"] for event in events(output, "train")] == [4, 8, 12, 16, 20, 24]


def test_killed_before_the_last_checkpoint(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a finished run that lacks its checkpoint for ever."""
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    shutil.rmtree(output / "checkpoint-last")
    result = run_here(make_config(store), output, resume=True)
    assert result.finished and result.step == 24
    assert same_checkpoints(output, whole)


def test_prolonging(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a key that may change and cannot, and a resume that begins again."""
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    result = run_here(make_config(store, {"training.max_steps": 30}), output, resume=True)
    assert result.finished and result.step == 30
    assert "max_steps = 30" in (output / "config.cfg").read_text()
    assert [event["step"] for event in events(output, "resume")] == [24]


def test_resuming_nothing_begins(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a job that always resumes, as one on a machine that may be taken away does, and
    fails the first time."""
    assert run_here(make_config(store), tmp_path / "run", resume=True).finished
    assert same_checkpoints(tmp_path / "run", whole)


def test_hours(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a budget of time that is not kept, a rate that does not follow it, and time that is
    counted anew after a resume."""
    clock = iter(range(10**9))
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))
    changes = {"training.max_steps": None, "training.max_hours": 0.1, "training.held_out": 0.0}
    result = run_here(make_config(store, changes), tmp_path / "run")
    assert result.finished and 360 <= result.seconds < 400
    rates = [event["learn_rate"] for event in events(tmp_path / "run", "train")]
    assert len(rates) > 2 and rates == sorted(rates, reverse=True) and rates[-1] < rates[0] / 2
    again = run_here(make_config(store, changes), tmp_path / "run", resume=True)
    assert again.step == result.step
    changes["training.max_hours"] = 0.2
    longer = run_here(make_config(store, changes), tmp_path / "run", resume=True)
    assert longer.step > result.step and 720 <= longer.seconds < 800


def test_hours_that_end_while_it_saves(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a run whose time is over, and that is called unfinished for lack of an evaluation:
    every save takes a third of the time that there is."""
    clock = iter(range(10**9))
    monkeypatch.setattr(loop_module.time, "monotonic", lambda: float(next(clock)))
    save = Loop.save

    def slow_save(self: Loop) -> None:
        save(self)
        for _ in range(120):
            next(clock)

    monkeypatch.setattr(Loop, "save", slow_save)
    changes = {"training.max_steps": None, "training.max_hours": 0.1, "training.save_every": 1}
    result = run_here(make_config(store, changes), tmp_path / "run")
    assert result.finished and result.step < 6
    assert [event["step"] for event in events(tmp_path / "run", "eval")] == [0, result.step]


# From a checkpoint.


def test_a_checkpoint_that_is_gone(
    store: Path, whole: Path, tmp_path: Path, stop_after: Any
) -> None:
    """Catches a run that cannot go on without the checkpoint it was begun with, though its state has
    all the weights."""
    start = tmp_path / "start"
    shutil.copytree(whole / "checkpoint-last", start)
    keys = ("width", "depth", "heads", "max_positions")
    sizes = {f"encoder.{key}": None for key in keys}
    config = make_config(store, {**sizes, "paths.checkpoint": str(start)})
    run_here(config, tmp_path / "uninterrupted")
    stop_after(11)
    run_here(config, tmp_path / "run")
    stop_after(10**9)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    shutil.rmtree(start)
    assert run_here(config, tmp_path / "run", resume=True).finished
    assert run_here(make_config(store, sizes), tmp_path / "other", resume=True).finished
    for run in ("run", "other"):
        assert same_checkpoints(tmp_path / run, tmp_path / "uninterrupted")


def test_from_a_checkpoint(store: Path, whole: Path, tmp_path: Path, capfd: Any) -> None:
    """Catches weights that are not taken over, or sizes that are not the checkpoint's; a missing
    head that nobody hears of."""
    source = load_checkpoint(whole / "checkpoint-last")
    source.weights = {n: t for n, t in source.weights.items() if not n.startswith(("mlm", "nsp"))}
    save_checkpoint(tmp_path / "start", source)
    sizes = {f"encoder.{key}": None for key in ("width", "depth", "heads", "max_positions")}
    config = make_config(
        store,
        {**sizes, "paths.checkpoint": str(tmp_path / "start"), "training.max_steps": 1,
         "optimizer.learn_rate": 1e-9},
    )  # fmt: skip
    pretrain(config, tmp_path / "run")
    assert "It has no mlm, nsp: random weights are used." in capfd.readouterr().err
    result = load_checkpoint(tmp_path / "run" / "checkpoint-last")
    for name, tensor in source.weights.items():
        torch.testing.assert_close(result.weights[name], tensor, rtol=0, atol=1e-7)
    assert result.has_mlm and result.has_nsp


def test_a_checkpoint_of_another_vocabulary(whole: Path, tmp_path: Path) -> None:
    """Catches ids that mean other pieces."""
    make_store(tmp_path / "store", more=3)
    sizes = {f"encoder.{key}": None for key in ("width", "depth", "heads", "max_positions")}
    changes = {**sizes, "paths.checkpoint": str(whole / "checkpoint-last")}
    with pytest.raises(ValueError, match="another vocabulary \\(33 pieces\\).*36 pieces"):
        run_here(make_config(tmp_path / "store", changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_with_few_positions(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a sequence that is too long for a checkpoint, found at the first step."""
    sizes = {f"encoder.{key}": None for key in ("width", "depth", "heads", "max_positions")}
    changes = {**sizes, "paths.checkpoint": str(whole / "checkpoint-last"),
               "training.final_length": 65}  # fmt: skip
    with pytest.raises(ValueError, match="final_length = 65, but the encoder has 64 positions"):
        run_here(make_config(store, changes), tmp_path / "run")


# What stops a run.


def test_folder_not_empty(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a run that is overwritten, or somebody's folder that is filled."""
    with pytest.raises(FileExistsError, match="not empty.*--resume"):
        run_here(make_config(store), whole)
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="thesis.txt") as error:
        run_here(make_config(store), tmp_path)
    assert "--resume" not in str(error.value)
    with pytest.raises(ValueError, match="not the folder of a run"):
        run_here(make_config(store), tmp_path, resume=True)
    with pytest.raises(NotADirectoryError, match="is a file"):
        run_here(make_config(store), tmp_path / "thesis.txt")


def test_another_configuration(store: Path, whole: Path) -> None:
    """Catches a resume that mixes two configurations, or that does not say what differs."""
    changes = {"training.seed": 1, "optimizer.learn_rate": 0.5, "logging.every": 9}
    with pytest.raises(ValueError) as error:
        run_here(make_config(store, changes), whole, resume=True)
    lines = str(error.value).splitlines()
    assert "  training.seed: was 0, is 1  <-" in lines
    assert "  optimizer.learn_rate: was 0.01, is 0.5  <-" in lines
    assert "  logging.every: was 4, is 9" in lines


def test_another_store(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a resume on other text; the same text elsewhere is fine."""
    shutil.copytree(whole, tmp_path / "run")
    make_store(tmp_path / "other", n_documents=49)
    with pytest.raises(ValueError, match="its content is different"):
        run_here(make_config(tmp_path / "other"), tmp_path / "run", resume=True)
    shutil.copytree(store, tmp_path / "moved")
    assert run_here(make_config(tmp_path / "moved"), tmp_path / "run", resume=True).finished


def test_loss_that_is_not_finite(
    store: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a NaN that reaches the weights, or a state."""
    forward = PretrainingModel.forward

    def broken(self: PretrainingModel, *arguments: Any) -> Any:
        loss, tally = forward(self, *arguments)
        broken.calls += self.training  # type: ignore[attr-defined]
        return loss * (float("nan") if broken.calls == 24 else 1.0), tally  # type: ignore[attr-defined]

    broken.calls = 0  # type: ignore[attr-defined]
    monkeypatch.setattr(PretrainingModel, "forward", broken)
    with pytest.raises(FloatingPointError, match="step 12 is not finite.*step 10 is intact"):
        run_here(make_config(store), tmp_path / "run")
    monkeypatch.undo()
    assert run_here(make_config(store), tmp_path / "run", resume=True).finished
    assert same_checkpoints(tmp_path / "run", whole)


def test_loss_that_is_not_finite_at_a_line(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a line of metrics about a step that a GPU has not told of yet."""
    log = Loop.log

    def asked_later(self: Loop) -> None:
        self.unchecked = (self.progress.step - 1, torch.tensor(float("nan")))
        self.tally += float("nan")
        log(self)

    monkeypatch.setattr(Loop, "log", asked_later)
    with pytest.raises(FloatingPointError, match="step 4 is not finite"):
        run_here(make_config(store), tmp_path / "run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no file that is always full")
def test_no_room_for_metrics(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches an error that says how to go on and is lost when the files are closed."""
    step = Loop.step

    def fill_up(self: Loop) -> None:
        if self.progress.step == 11:
            self.metrics._file = open("/dev/full", "ab")  # noqa: SIM115
        step(self)

    monkeypatch.setattr(Loop, "step", fill_up)
    with pytest.raises(OSError, match="stopped after step 12: .*step 10 is intact. Make room"):
        run_here(make_config(store), tmp_path / "run")


def test_full_disk(store: Path, whole: Path, tmp_path: Path, stop_after: Any) -> None:
    """Catches a traceback, or a lost run, when the disk is full."""
    resource = pytest.importorskip("resource")
    output = tmp_path / "run"
    stop_after(11)
    run_here(make_config(store), output)
    stop_after(10**9)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))  # less than a state
    try:
        with pytest.raises(OSError, match="stopped after step 15: .*step 12 is intact. Make room"):
            run_here(make_config(store), output, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert run_here(make_config(store), output, resume=True).finished
    assert same_checkpoints(output, whole)


def test_a_single_document(tmp_path: Path) -> None:
    """Catches a run that has no random second sentence to offer and does not say so."""
    make_store(tmp_path / "store", n_documents=1)
    changes = {"training.held_out": 0.0}
    with pytest.raises(ValueError, match="nsp = false"):
        run_here(make_config(tmp_path / "store", changes), tmp_path / "run")
    changes.update({"objective.nsp": False, "training.max_steps": 2, "logging.every": 1})  # type: ignore[dict-item]
    # It never began, so that there is no folder that is bound to what it was to do.
    assert not (tmp_path / "run").exists()
    config = make_config(tmp_path / "store", changes)
    assert run_here(config, tmp_path / "run").finished
    shutil.rmtree(tmp_path / "run" / "state")
    with pytest.raises(ValueError, match="has checkpoint-last and checkpoint-best, but no state"):
        run_here(config, tmp_path / "run", resume=True)
    shutil.rmtree(tmp_path / "run" / "checkpoint-last")
    with pytest.raises(ValueError, match="has checkpoint-best, but no state"):
        run_here(config, tmp_path / "run", resume=True)


@pytest.mark.parametrize("eval_pieces", [0, 1000])
def test_a_single_document_held_out(eval_pieces: int, tmp_path: Path) -> None:
    """Catches a run that only at its first evaluation finds out that it cannot evaluate."""
    make_store(tmp_path / "store", n_documents=2)
    changes = {"training.held_out": 0.5, "training.eval_pieces": eval_pieces}
    with pytest.raises(ValueError, match="1 document of the store .* is read here, of 2"):
        run_here(make_config(tmp_path / "store", changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# The last byte of the first number: pieces are of two bytes, offsets of eight.
@pytest.mark.parametrize("name, byte", [("pieces.bin", 1), ("sentences.bin", 15)])
def test_a_damaged_store(name: str, byte: int, store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a run that learns from a store with a flipped bit without a word, or that ends in an
    IndexError; at its beginning, and when it goes on."""
    shutil.copytree(store, tmp_path / "store")
    content = bytearray((store / name).read_bytes())
    content[byte] ^= 0x80
    (tmp_path / "store" / name).write_bytes(content)
    config = make_config(tmp_path / "store")
    with pytest.raises(
        ValueError, match=rf"{name} is damaged: its SHA-256.*Prepare the text again"
    ):
        run_here(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        run_here(config, tmp_path / "run", resume=True)
    for file in ("config.cfg", "metrics.jsonl"):
        assert (tmp_path / "run" / file).read_bytes() == (whole / file).read_bytes()


def test_the_best_checkpoint_is_gone(store: Path, whole: Path, tmp_path: Path) -> None:
    """Catches a finished run that names a checkpoint which is not there."""
    shutil.copytree(whole, tmp_path / "run")
    weights = tmp_path / "run" / "checkpoint-best" / "model.safetensors"
    weights.unlink()
    with pytest.raises(FileNotFoundError) as error:
        run_here(make_config(store), tmp_path / "run", resume=True)
    assert f"{weights} is missing" in str(error.value) and "checkpoint-last" in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled(store: Path, tmp_path: Path) -> None:
    """Catches an option that cannot run, or another network; dropout is off, so that both are told
    the same."""
    last = []
    for compiled in (True, False):
        changes = {"training.compile": compiled, "encoder.hidden_dropout": 0.0,
                   "encoder.attention_dropout": 0.0, "training.precision": "fp32"}  # fmt: skip
        run_here(make_config(store, changes), tmp_path / str(compiled))
        last.append(events(tmp_path / str(compiled), "eval")[-1]["mlm_loss"])
    assert last[0] == pytest.approx(last[1], abs=1e-3)


@pytest.mark.parametrize("name, value", [("tensorboard", True), ("wandb", "project")])
def test_missing_trackers(
    name: str, value: object, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches an ImportError without a remedy, or a run that begins and logs nothing."""
    monkeypatch.setattr(metrics_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=f"pip install {name}"):
        run_here(make_config(store, {f"logging.{name}": value}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_tensorboard(store: Path, tmp_path: Path) -> None:
    """Catches figures that do not arrive."""
    events_of = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    changes = {"logging.tensorboard": True, "training.max_steps": 8}
    run_here(make_config(store, changes), tmp_path / "run")
    found = events_of.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    lines = events(tmp_path / "run", "train")
    for scalar, line in zip(found.Scalars("train/mlm_loss"), lines, strict=True):
        assert (scalar.step, scalar.value) == (line["step"], pytest.approx(line["mlm_loss"]))


def test_a_second_signal_is_not_held_back() -> None:
    """Catches a process that cannot be stopped at once."""
    # A shell starts what it puts in the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        check_second_signal()
    finally:
        signal.signal(signal.SIGINT, before)


def check_second_signal() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt() and interrupt.received == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_runs_without_spacy(store: Path, tmp_path: Path) -> None:
    """Catches an import of spaCy or Thinc on the way through a run."""
    code = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("spacy", "thinc", "transformers", "confection", "typer"):
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
from spacy_bert.pretraining import Encoder, Paths, PretrainConfig, Training, pretrain
config = PretrainConfig(
    Paths({str(store)!r}),
    encoder=Encoder(width=16, depth=1, heads=2),
    training=Training(max_steps=2, batch_pieces=256, held_out=0.1),
)
print(pretrain(config, {str(tmp_path / "run")!r}).step)
"""
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert result.stdout == "2\n", result.stderr
