"""The loop: step, evaluate, save. Reads top to bottom.

What happens after which step depends on the step alone, and a saved state holds all that the next
step depends on: a run that was interrupted, however often, ends with the same bytes.
"""

import contextlib
import math
import time
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from ..encoder import save_checkpoint
from ..encoder.bert import compile_layers
from ..encoder.checkpoint import SAFETENSORS
from ..encoder.precision import multiplies_bf16
from ..files import FULL, make_folder
from ..wordpiece import WordPieceTokenizer
from .batches import Position
from .config import PretrainConfig
from .device import use_device
from .evaluation import Evaluation, means, score_of
from .feed import Feed, check_streams, open_stream
from .flops import peak_flops, step_flops
from .interrupt import Interrupt
from .metrics import METRICS, Console, MetricsFile, Tracker, check_trackers, duration, open_trackers
from .network import build_model
from .objective import COUNTS, PretrainingModel, Totals
from .optimizer import AdamW, learn_rate, progress_of, sequence_length
from .run_folder import BEST, LAST, check_folder, prepare_folder
from .state import Progress, RunLock, load_state, save_state, saved_sizes
from .store import TokenStore


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    step (int): Steps taken.
    finished (bool): Whether that is all of them; else it was interrupted.
    stopped_by (Optional[str]): The signal that interrupted it, such as "SIGTERM".
    seconds (float): Time used by all its parts.
    checkpoint_best (Path): The checkpoint with the lowest held-out loss (without evaluation, the last).
    checkpoint_last (Path): The checkpoint of the last step.
    best_step (int): When the lowest held-out loss was reached; -1 without evaluation.
    evaluation (Optional[Dict[str, Any]]): The last one, as in metrics.jsonl, if this part had one.
    """

    step: int
    finished: bool
    stopped_by: Optional[str]
    seconds: float
    checkpoint_best: Path
    checkpoint_last: Path
    best_step: int
    evaluation: Optional[Dict[str, Any]]


def pretrain(
    config: PretrainConfig,
    output: Union[str, Path],
    *,
    resume: bool = False,
    quiet: bool = False,
) -> RunResult:
    """Pretrain a BERT on a token store (Devlin et al. 2018, sections 3.1 and A.2).

    >>> from spacy_bert.pretraining import PretrainConfig, Training, Paths, pretrain
    >>> config = PretrainConfig(Paths("store"), training=Training(max_steps=10_000))
    >>> result = pretrain(config, "run")                 # interrupt it, kill it ...
    >>> result = pretrain(config, "run", resume=True)    # ... and go on
    >>> nlp = spacy_bert.from_checkpoint(result.checkpoint_best)

    Seeds torch's generator. In the main thread, SIGTERM and Ctrl-C end it after the step at hand,
    with a saved state.

    config (PretrainConfig): What to do.
    output (Union[str, Path]): Folder of the run; there must be none, or an empty one.
    resume (bool): Go on with the run in that folder, from its last state; begin where there is none.
    quiet (bool): Say nothing on stderr.
    RETURNS (RunResult): How it ended.
    RAISES (ValueError): The config does not go with the store, the checkpoint or the run; or the store
        is damaged.
    RAISES (OSError): Something is missing (of a run that is finished: its best checkpoint), the folder
        is not empty or in use, or the disk is full; the last state is intact.
    RAISES (FloatingPointError): The loss is not finite. The last state is intact.
    """
    run = Path(output).expanduser()
    changes = check_folder(run, config, resume=resume)
    check_trackers(tensorboard=config.logging.tensorboard, wandb=config.logging.wandb)
    device = use_device(config.training.device)
    vocab = config.paths.vocab
    tokenizer = None if vocab is None else WordPieceTokenizer.from_disk(vocab)
    store = TokenStore.open(config.paths.store, tokenizer=tokenizer)
    store.verify()  # a flipped bit is another piece, and would be learned without a word
    model, remarks = build_model(config, store, sizes=saved_sizes(run) if resume else None)
    model.to(device)
    parts = store.split(config.training.held_out, seed=config.training.seed)
    check_streams(config, store, parts)
    make_folder(run)
    lock = RunLock(run)
    try:
        prepare_folder(run, config)
        trackers = open_trackers(
            run,
            tensorboard=config.logging.tensorboard,
            wandb=config.logging.wandb,
            settings=config.to_dict(),
        )
        console = Console(config.training.max_steps, quiet=quiet)
        for line in [*remarks, *(f"Changed: {change}" for change in changes)]:
            console.say(line)
        loop = Loop(config, run, store, parts, model, device, console, trackers, resume=resume)
        try:
            return loop.run()
        finally:
            loop.close()
    finally:
        lock.release()


class Loop:
    """One process's part of a run."""

    def __init__(
        self,
        config: PretrainConfig,
        run: Path,
        store: TokenStore,
        parts: Tuple[np.ndarray, np.ndarray],
        model: PretrainingModel,
        device: torch.device,
        console: Console,
        trackers: List[Tracker],
        *,
        resume: bool,
    ) -> None:
        training = config.training
        self.config, self.run_folder, self.store, self.model = config, run, store, model
        self.device, self.console = device, console
        self.bf16 = training.precision == "bf16" or (
            training.precision == "auto" and multiplies_bf16(device)
        )
        self.optimizer = AdamW(model, depth=model.config.depth, settings=config.optimizer)
        found = load_state(run, model, self.optimizer) if resume else None
        if found is not None and found.store != store.fingerprint:
            raise ValueError(
                f"The store {store.path} is not the one that the run in {run} reads: its content is "
                f"different. Give the one it was begun with, or begin a new run in another folder."
            )
        self.progress = found or Progress(store=store.fingerprint)
        self.progress.sizes = asdict(model.config)
        self.resumed = found is not None
        # Of the last state: step, and whether what was found at that step is in it.
        self.saved = (self.progress.step, self.progress.evaluated) if self.resumed else (-1, -1)
        self.started, self.seconds_before = time.monotonic(), self.progress.seconds
        self.done_before = self.done
        train, held_out = parts
        self.feed = Feed(
            partial(open_stream, config, store, train),
            position=Position(*self.progress.position),
            max_length=sequence_length(training, progress=self.done),
            device=device,
        )
        self.evaluation = Evaluation(store, held_out, config) if training.held_out else None
        self.last_result: Optional[Dict[str, Any]] = None
        self.metrics = MetricsFile(run / METRICS, keep=self.progress.metrics_bytes)
        self.sinks: List[Tracker] = [self.metrics, console, *trackers]
        self.peak = peak_flops(device, torch.bfloat16 if self.bf16 else torch.float32)
        if training.compile:
            compile_layers(model.encoder)
        # Sums since the last line: COUNTS, the norm of the gradient, steps. They stay on the device.
        self.tally = torch.zeros(len(COUNTS) + 2, dtype=torch.float64, device=device)
        if self.progress.tally:
            self.tally += torch.tensor(self.progress.tally, dtype=torch.float64, device=device)
        self.unchecked: Optional[Tuple[int, Tensor]] = None
        self._new_line()

    # What is done when.

    def run(self) -> RunResult:
        """RETURNS (RunResult): How this part of the run ended."""
        training, progress = self.config.training, self.progress
        self.model.train()
        with Interrupt() as interrupt:
            try:
                self.announce()
                self.console.start(progress.step)
                while True:
                    # Asked once: the clock goes on while it evaluates and saves.
                    ends = self.done >= 1
                    due = progress.step % training.eval_every == 0 or ends
                    if self.evaluation is not None and due and progress.evaluated != progress.step:
                        self.evaluate(interrupt)
                    due = progress.step % training.save_every == 0 or ends or interrupt()
                    if due and self.saved != (progress.step, progress.evaluated):
                        self.save()
                    if ends or interrupt():
                        break
                    self.step()
                    if progress.step % self.config.logging.every == 0:
                        self.log()
                finished = ends and not (
                    self.evaluation is not None and progress.evaluated != progress.step
                )
                self.finish(finished)
            except OSError as error:
                raise OSError(error.errno, self._stopped_by(error)) from error
        self.console.say(self._farewell(finished, interrupt.received))
        if finished:
            self.check_best()
        return RunResult(
            step=progress.step,
            finished=finished,
            stopped_by=None if finished else interrupt.received,
            seconds=self.seconds,
            checkpoint_best=self.run_folder / BEST,
            checkpoint_last=self.run_folder / LAST,
            best_step=progress.best_step,
            evaluation=self.last_result,
        )

    def step(self) -> None:
        """Read some batches, and take a step."""
        config, progress = self.config, self.progress
        done = self.done
        self.feed.set_max_length(sequence_length(config.training, progress=done))
        batches = [self.feed.next() for _ in range(config.training.accumulate)]
        totals = Totals.of(batches)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            with self.autocast():
                loss, tally = self.model(batch, totals)
            loss.backward()
            total += loss.detach()
            self.tally[: len(COUNTS)] += tally
            self._count(batch.pieces.lengths, len(batch.masked_rows))
        self.rate = learn_rate(config.optimizer, step=progress.step, progress=done)
        norm = self.optimizer.clip_and_step(total, learn_rate=self.rate)
        self.tally[-2:] += torch.stack([norm.to(torch.float64), torch.ones_like(self.tally[0])])
        self._check_finite(total + norm)
        progress.step += 1
        progress.position = list(self.feed.position)
        self.console.advance()

    def evaluate(self, interrupt: Callable[[], bool]) -> None:
        """Evaluate, and keep the weights if they are the best so far."""
        assert self.evaluation is not None
        with self._pause():
            result = self.evaluation(self.model, autocast=self.autocast, stopping=interrupt)
            if result is None:
                return
            progress, score = self.progress, score_of(result)
            self.emit("eval", seconds=self.seconds, **result)
            self.last_result = result
            if progress.best_score is None or score < progress.best_score:
                progress.best_score, progress.best_step = score, progress.step
                self._save_checkpoint(BEST)
            progress.evaluated = progress.step

    def log(self) -> None:
        """Write down the means since the last line."""
        self._check_finite(None)  # waits for the device
        values = self.tally.tolist()
        norm, n_steps = values[-2:]
        result = means(self.tally[: len(COUNTS)])
        seconds = time.monotonic() - self.line_started - self.paused
        done = self.done - self.done_before
        left = (self.seconds - self.seconds_before) * (1 - self.done) / done if done else None
        self.emit(
            "train",
            seconds=self.seconds,
            pieces=self.progress.pieces,
            loss=(result["mlm_loss"] or 0.0) + (result["nsp_loss"] or 0.0),
            **result,
            learn_rate=self.rate,
            grad_norm=norm / max(1.0, n_steps),
            pieces_per_second=self.line_pieces / seconds,
            mfu=self.line_flops / seconds / self.peak,
            seconds_left=left,
        )
        self.tally.zero_()
        self._new_line()

    def save(self) -> None:
        """Save all that the next step depends on, and the weights as a checkpoint."""
        with self._pause():
            self._check_finite(None)
            progress = self.progress
            progress.seconds = self.seconds
            progress.tally = self.tally.tolist()
            progress.metrics_bytes = self.metrics.sync()
            save_state(self.run_folder, progress, self.model, self.optimizer)
            self.saved = (progress.step, progress.evaluated)
            self._save_checkpoint(LAST)

    def finish(self, finished: bool) -> None:
        """Leave the checkpoints that a finished run has, even if the process that took its last
        step was killed before it wrote them."""
        if finished:
            self._save_checkpoint(LAST)
            if self.evaluation is None:
                self._save_checkpoint(BEST)

    def check_best(self) -> None:
        """RAISES (FileNotFoundError): The best checkpoint was removed, and cannot be written again."""
        weights = self.run_folder / BEST / SAFETENSORS
        if not weights.is_file():
            raise FileNotFoundError(
                f"The run is finished, but {weights} is missing: it was written after step "
                f"{self.progress.best_step:,}, and removed since. Copy it back from elsewhere, or use "
                f"{self.run_folder / LAST}, the weights of step {self.progress.step:,}."
            )

    # How.

    @property
    def seconds(self) -> float:
        """RETURNS (float): Time used by the run, interruptions not counted."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def done(self) -> float:
        """RETURNS (float): How much of the run is done, from 0 to 1."""
        return progress_of(self.config.training, step=self.progress.step, seconds=self.seconds)

    def autocast(self) -> ContextManager[Any]:
        """RETURNS (ContextManager): Sets the precision of matrix products."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def announce(self) -> None:
        """Say what begins, or goes on, and on what."""
        n_parameters = sum(p.numel() for p in self.model.parameters())
        precision = "bf16" if self.bf16 else "fp32"
        at = Position(*self.progress.position)
        step = self.progress.step
        if self.resumed:
            self.console.say(
                f"Resumes {self.run_folder} after step {step:,} (epoch {at.epoch}, block "
                f"{at.block}, instance {at.instance}; {duration(self.progress.seconds)} used)."
            )
        self.emit(
            "resume" if self.resumed else "start",
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            device=str(self.device),
            threads=torch.get_num_threads(),
            precision=precision,
            parameters=n_parameters,
            peak_flops=self.peak,
            sizes=asdict(self.model.config),
        )
        self.console.say(
            f"{n_parameters / 1e6:.1f} M parameters, {self.feed.n_pieces:,} pieces to read in an "
            f"epoch, {precision} on {self.device} ({self.peak / 1e9:,.0f} GFLOP/s)."
        )

    def emit(self, event: str, **values: Any) -> None:
        """event (str): What happened. **values (Any): What there is to say of it."""
        data = {"event": event, "step": self.progress.step}
        data.update({name: _finite(value) for name, value in values.items()})
        for sink in self.sinks:
            sink.write(data)

    def close(self) -> None:
        """Stop reading ahead, and close what is written to."""
        parts: List[Any] = [self.feed, *self.sinks]
        with contextlib.ExitStack() as closed:
            for part in parts:
                closed.callback(part.close)  # even if another fails

    def _count(self, lengths: Any, n_masked: int) -> None:
        nsp = self.config.objective.nsp
        self.line_pieces += sum(lengths)
        self.progress.pieces += sum(lengths)
        self.line_flops += step_flops(self.model.config, lengths, n_masked=n_masked, nsp=nsp)

    def _new_line(self) -> None:
        self.line_started, self.paused = time.monotonic(), 0.0
        self.line_pieces, self.line_flops = 0, 0.0

    @contextlib.contextmanager
    def _pause(self) -> Any:
        """Time that is not spent on steps."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        start = time.monotonic()
        yield
        self.paused += time.monotonic() - start

    def _check_finite(self, value: Optional[Tensor]) -> None:
        """Stop if a step's loss or gradient was not finite; it changed nothing. A GPU is asked
        about a step after the next one was begun, so that it never waits."""
        asked = [] if self.unchecked is None else [self.unchecked]
        self.unchecked = None
        if value is not None:
            if self.device.type == "cuda":
                self.unchecked = (self.progress.step, value)
            else:
                asked.append((self.progress.step, value))
        for step, figure in asked:
            if not math.isfinite(float(figure)):
                raise FloatingPointError(
                    f"The loss or the gradient of step {step + 1} is not finite ({float(figure)}). "
                    f"The step was not taken{self._last_state()} The rate was {self.rate:.2e}. "
                    f"Lower learn_rate or raise warmup_steps under [optimizer], in a new run"
                    + (', or set precision = "fp32".' if self.bf16 else ".")
                )

    def _save_checkpoint(self, name: str) -> None:
        checkpoint = self.model.to_checkpoint(self.store.tokenizer, str(self.run_folder))
        save_checkpoint(self.run_folder / name, checkpoint)

    def _last_state(self) -> str:
        if self.saved[0] < 0:
            return "; no state had been saved yet."
        return f"; the state of step {self.saved[0]} is intact."

    def _stopped_by(self, error: OSError) -> str:
        remedy = "Make room" if error.errno in FULL else "Set that right"
        return (
            f"The run stopped after step {self.progress.step}: {error.strerror or error}"
            f"{self._last_state()} {remedy}, then go on with --resume"
        )

    def _farewell(self, finished: bool, signal: Optional[str]) -> str:
        step = f"step {self.progress.step:,}"
        if finished:
            return f"Done after {step}, {duration(self.seconds)}: {self.run_folder}"
        return f"{signal}: saved after {step}. Go on with --resume (in Python, resume=True)."


def _finite(value: Any) -> Any:
    """JSON knows neither NaN nor infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
