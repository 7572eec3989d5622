"""What is read of a run: all that is whole, each step once."""

import json
from pathlib import Path

import pytest

from spacy_bert.pretraining.run_log import number, read_run

from .logs import evaluation, start, train, usual, write_log


def test_reads_what_was_written(tmp_path: Path) -> None:
    """Catches rows, events or settings that are lost."""
    run = read_run(write_log(tmp_path, usual()))
    assert [row["step"] for row in run.train] == list(range(50, 1001, 50))
    assert [row["step"] for row in run.evals] == [0, 350, 700, 1000]
    assert run.config["training"]["final_length"] == 512 and run.config["paths"]["vocab"] is None
    assert (run.last_step, run.unread, len(run.starts)) == (1000, 0, 1)
    steps, losses = run.series("train", "mlm_loss")
    assert steps.tolist() == list(range(50, 1001, 50))
    assert losses.tolist() == [row["mlm_loss"] for row in run.train]
    assert run.series("eval", "mlm_loss", by="seconds")[0].tolist() == [0, 175, 350, 500]


@pytest.mark.parametrize("end", ['{"event": "tr', '{"event": "train", "step": 60}', "\xe4", "[1"])
def test_half_a_line(tmp_path: Path, end: str) -> None:
    """Catches a killed run that cannot be read, or one whose last line is taken before it is whole."""
    run = read_run(write_log(tmp_path, [start(), train(50)], end=end))
    assert (run.last_step, run.unread) == (50, 0)


def test_half_a_character(tmp_path: Path) -> None:
    """Catches a file that is decoded as a whole: it may end in the middle of a character."""
    folder = write_log(tmp_path, [start(), train(50)])
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write('{"event": "eval", "text": "ö'.encode()[:-1])
    assert read_run(folder).last_step == 50


def test_the_later_of_two(tmp_path: Path) -> None:
    """Catches figures of steps that were lost with a crash and done again."""
    rows = [start(), train(50), train(100, mlm_loss=9.0), start(50, "resume"), train(100, mlm_loss=1.0), evaluation(100, mlm_loss=8.0), evaluation(100, mlm_loss=2.0)]  # fmt: skip
    run = read_run(write_log(tmp_path, rows))
    assert [(row["step"], row["mlm_loss"]) for row in run.train][1:] == [(100, 1.0)]
    assert [row["mlm_loss"] for row in run.evals] == [2.0]
    assert [row["event"] for row in run.starts] == ["start", "resume"]


def test_steps_that_were_lost_are_gone(tmp_path: Path) -> None:
    """Catches a run that seems to be where it was before a crash."""
    rows = [start(), train(50), train(100), train(150), evaluation(150), start(50, "resume"), train(75)]  # fmt: skip
    run = read_run(write_log(tmp_path, rows))
    assert (
        [row["step"] for row in run.train] == [50, 75] and run.evals == [] and run.last_step == 75
    )


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    """Catches one bad line that costs the whole report, or that is passed over in silence."""
    folder = write_log(tmp_path, [start(), train(50)])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('\x00\x00\n\n[]\n{"event": "train"}\n{"event": "train", "step": true}\n')
        file.write('{"event": "train", "step": -1}\n{"event": "note", "step": 3}\n')
        file.write(json.dumps(train(100)) + "\n")
    run = read_run(folder)
    assert [row["step"] for row in run.train] == [50, 100] and run.unread == 5


def test_figures_that_are_none(tmp_path: Path) -> None:
    """Catches null, NaN and words among the figures."""
    rows = [train(1, mfu=None), train(2, mfu=float("nan")), train(3, mfu="fast"), train(4, mfu=0.5), {"event": "train", "step": 5}]  # fmt: skip
    run = read_run(write_log(tmp_path, [start(), *rows]))
    assert [values.tolist() for values in run.series("train", "mfu")] == [[4.0], [0.5]]
    assert run.last("train", "mfu") == 0.5 and run.last("eval", "mfu") is None
    assert [number(x) for x in (True, "1", None, float("inf"), 2)] == [None, None, None, None, 2.0]


def test_best_evaluation(tmp_path: Path) -> None:
    """Catches a best that is another than that of checkpoint-best: both losses count."""
    rows = [evaluation(1, mlm_loss=2.0, nsp_loss=0.9), evaluation(2, mlm_loss=2.2, nsp_loss=0.1), evaluation(3, mlm_loss=2.3, nsp_loss=0.1)]  # fmt: skip
    best = read_run(write_log(tmp_path, [start(), *rows])).best_eval()
    assert best is not None and best["step"] == 2


def test_config_that_cannot_be_read(tmp_path: Path) -> None:
    """Catches a report that needs a config, or one of this version."""
    for config in (None, "no section\n", "[a]\n[a]\n", "[training]\nnew_key = what\n"):
        run = read_run(write_log(tmp_path, usual(), config=config))
        assert run.config in ({}, {"training": {"new_key": "what"}})
        (tmp_path / "config.cfg").unlink(missing_ok=True)


def test_not_a_run(tmp_path: Path) -> None:
    """Catches a traceback where the path is wrong."""
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere.*OUTPUT of `pretrain`"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no metrics.jsonl \(found: notes.txt\)"):
        read_run(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file. Give the folder"):
        read_run(tmp_path / "notes.txt")


def test_nothing_to_show(tmp_path: Path) -> None:
    """Catches an empty page for a run that has just begun, and for a file that is something else."""
    for rows in ([], [start()]):
        with pytest.raises(ValueError, match="no figures yet.*logging.every"):
            read_run(write_log(tmp_path, rows))
    (tmp_path / "metrics.jsonl").write_text("a\nb\n")
    with pytest.raises(ValueError, match="2 lines, of which none is a JSON object"):
        read_run(tmp_path)
