"""`kill -9` at any moment: what is resumed ends with the bytes of what was never interrupted."""

import multiprocessing
import random
import time
from pathlib import Path

import pytest

from .runs import make_config, make_store, run_alone, run_here, same_checkpoints

# Saves follow each other closely, so that many a kill hits one.
CHANGES = {"training.save_every": 2, "training.eval_every": 3, "training.max_steps": 60}


def kill_and_resume(folder: Path, n_runs: int, *, seed: int) -> int:
    """RETURNS (int): How many of the runs were killed before they had ended by themselves."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pretraining.runs"])
    store = folder / "store"
    make_store(store)
    start = time.monotonic()
    run_here(make_config(store, CHANGES), folder / "whole")
    duration = time.monotonic() - start
    draws, n_killed = random.Random(seed), 0
    for number in range(n_runs):
        output = folder / f"run{number}"
        for attempt in range(draws.choice([1, 1, 2])):
            arguments = (str(store), str(output), CHANGES, attempt > 0)
            process = context.Process(target=run_alone, args=arguments)
            process.start()
            while process.is_alive() and not (output / "lock").exists():
                time.sleep(0.001)
            process.join(draws.random() * 1.2 * duration)
            n_killed += process.is_alive()
            process.kill()
            process.join()
        result = run_here(make_config(store, CHANGES), output, resume=True)
        assert result.finished and result.step == 60
        assert same_checkpoints(output, folder / "whole"), f"run {number} ended otherwise"
        whole, resumed = (
            [line for line in (run / "metrics.jsonl").read_text().splitlines()]
            for run in (folder / "whole", output)
        )
        assert sum('"train"' in line for line in whole) == sum(
            '"train"' in line for line in resumed
        )
    return n_killed


def test_killed_runs_end_the_same(tmp_path: Path) -> None:
    """Catches anything that the next step depends on and that a state does not hold, and states
    or checkpoints that a kill leaves torn."""
    assert kill_and_resume(tmp_path, 3, seed=0) >= 1


@pytest.mark.slow
def test_twenty_killed_runs_end_the_same(tmp_path: Path) -> None:
    """Catches what three runs do not hit."""
    assert kill_and_resume(tmp_path, 20, seed=1) >= 10
