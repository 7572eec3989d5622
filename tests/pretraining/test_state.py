"""States on disk: whole or passed over. Locks: held by the living only."""

import logging
import multiprocessing
import os
import time
from pathlib import Path
from typing import List

import pytest
import torch

from spacy_bert.encoder import BertConfig
from spacy_bert.pretraining.config import Optimizer
from spacy_bert.pretraining.objective import PretrainingModel
from spacy_bert.pretraining.optimizer import AdamW
from spacy_bert.pretraining.state import Progress, RunLock, load_state, save_state


class Trained:
    """A network and its optimizer after some steps on made-up gradients."""

    def __init__(self, seed: int, n_steps: int = 1) -> None:
        torch.manual_seed(seed)
        sizes = BertConfig.from_size("tiny", vocab_size=20, max_positions=8)
        self.model = PretrainingModel(sizes, nsp=True)
        self.optimizer = AdamW(self.model, depth=2, settings=Optimizer())
        for _ in range(n_steps):
            self.step()

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.clip_and_step(torch.tensor(0.0), learn_rate=0.01)

    def weights(self) -> List[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


def save(run: Path, trained: Trained, step: int) -> Path:
    return save_state(run, Progress(step=step, best_score=1.5), trained.model, trained.optimizer)


def equal(one: List[torch.Tensor], other: List[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """Catches a moment, a count of steps or a random number that is not saved: the next steps would
    be others."""
    whole = Trained(0, 3)
    progress = Progress(7, 1.5, 99, [1, 2, 3, 4], 6, 0.25, 6, 123, [0.5, 1e-300], "abc")
    save_state(tmp_path, progress, whole.model, whole.optimizer)
    other = Trained(1, 0)
    assert load_state(tmp_path, other.model, other.optimizer) == progress
    assert equal(whole.weights(), other.weights())
    torch.manual_seed(123)  # the numbers that are drawn now are not those of the run
    assert load_state(tmp_path, other.model, other.optimizer) is not None
    other.step()
    expected = other.weights()
    load_state(tmp_path, whole.model, whole.optimizer)
    whole.step()
    assert equal(whole.weights(), expected)
    fresh = Trained(0, 3)  # never saved: the same seed, the same steps
    fresh.step()
    assert equal(fresh.weights(), expected)


def test_two_are_kept(tmp_path: Path) -> None:
    """Catches a disk that fills up, and a state that is removed before its successor is there."""
    trained = Trained(0)
    for step in (5, 100, 20):
        save(tmp_path, trained, step)
    names = sorted(path.name[:8] for path in (tmp_path / "state").iterdir())
    assert names == ["00000020", "00000100"]


@pytest.mark.parametrize("damage", ["flipped", "torn", "empty"])
def test_a_damaged_state_is_passed_over(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Catches a state that is trusted for its name, and one that is passed over in silence."""
    trained = Trained(0)
    save(tmp_path, trained, 10)
    expected = trained.weights()
    trained.step()
    last = save(tmp_path, trained, 20)
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1
    parts = {"flipped": content, "torn": content[:-100], "empty": b""}
    last.write_bytes(parts[damage])
    other = Trained(1)
    with caplog.at_level(logging.WARNING):
        progress = load_state(tmp_path, other.model, other.optimizer)
    assert progress is not None and progress.step == 10
    assert equal(other.weights(), expected)
    assert last.name in caplog.text and "torn or damaged" in caplog.text


def test_no_state_is_whole(tmp_path: Path) -> None:
    """Catches a run that begins anew, over the old one, because its states cannot be read."""
    trained = Trained(0)
    for step in (10, 20):
        save(tmp_path, trained, step).write_bytes(b"x")
    with pytest.raises(ValueError, match="None of the 2 states"):
        load_state(tmp_path, trained.model, trained.optimizer)


def test_no_state_yet(tmp_path: Path) -> None:
    """Catches an error where a run was killed before it saved; what it left is removed."""
    trained = Trained(0)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "abc.tmp").write_bytes(b"x")
    assert load_state(tmp_path, trained.model, trained.optimizer) is None
    assert not list((tmp_path / "state").iterdir())


def test_a_full_disk_leaves_the_last_states(tmp_path: Path) -> None:
    """Catches a state that is written over another, and what is left of a failed one."""
    resource = pytest.importorskip("resource")
    trained = Trained(0)
    before = [save(tmp_path, trained, step) for step in (10, 20)]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # as a full disk would
    try:
        with pytest.raises(OSError, match="state of step 30 could not be saved: File too large"):
            save(tmp_path, trained, 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted((tmp_path / "state").iterdir()) == before
    progress = load_state(tmp_path, trained.model, trained.optimizer)
    assert progress is not None and progress.step == 20


def test_another_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a state of another version that is read as if it were one of this."""
    trained = Trained(0)
    monkeypatch.setattr("spacy_bert.pretraining.state.FORMAT", "spacy-bert.RunState.v9")
    save(tmp_path, trained, 1)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="RunState.v9.*RunState.v1"):
        load_state(tmp_path, trained.model, trained.optimizer)


def hold(run: Path) -> None:
    lock = RunLock(run)
    (run / "held").touch()
    time.sleep(60)
    lock.release()


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    """Catches two processes that write to the same run, and a killed one that blocks it for ever."""
    pytest.importorskip("fcntl")
    process = multiprocessing.get_context("forkserver").Process(target=hold, args=(tmp_path,))
    process.start()
    while not (tmp_path / "held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    with pytest.raises(OSError, match=f"another run \\(process {process.pid}\\)"):
        RunLock(tmp_path)
    process.kill()
    process.join()
    lock = RunLock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()
    RunLock(tmp_path).release()
