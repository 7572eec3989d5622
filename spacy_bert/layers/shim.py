"""Thinc's PyTorch shim, mended for a large shared encoder.

Thinc's own steps and clips parameter by parameter, decays biases, flips the module between modes at
every prediction (a race between threads), and looks its averages up under a key that is never set.
"""

import contextlib
import math
import shutil
import weakref
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple, Union, cast

import safetensors.torch
import srsly
import torch
from thinc.api import CupyOps, Optimizer, PyTorchShim, get_current_ops, set_gpu_allocator
from thinc.backends import context_pools
from thinc.shims.shim import Shim
from thinc.types import ArgsKwargs, FloatsXd
from thinc.util import get_torch_default_device, torch2xp, xp2torch
from torch import nn

from ..encoder.engine import Engine, check_inference, identity_of, make_engine, making_engines
from ..encoder.precision import multiplies_bf16
from ..files import replacing
from .finite import HasText, describe
from .fork_guard import guard_forks
from .good_weights import EVERY
from .gradients import reads_rows, send_back
from .optimizer import AdamW, check_finite_gradients

guard_forks()

TAKEN_BACK = f"the last ones, {EVERY} at most, were taken back."

# Whether weights are written to a file of their own, beside that of the model.
WEIGHTS_ARE_APART: ContextVar[bool] = ContextVar("WEIGHTS_ARE_APART", default=False)


class Made(NamedTuple):
    """What an encoder predicts with.

    asked (str): The setting that it was made for.
    precision (Optional[str]): The precision that it has; of "auto", what was chosen.
    engine (Optional[Engine]): The engine; None if it has to be made.
    """

    asked: str
    precision: Optional[str]
    engine: Optional[Engine]

    def of(self, asked: str, identity: Tuple[int, ...]) -> Optional[Engine]:
        """asked (str): A setting. identity (Tuple[int, ...]): Of the weights as they are.
        RETURNS (Optional[Engine]): The engine, if it is for these."""
        engine = self.engine if self.asked == asked else None
        return engine if engine is not None and engine.identity == identity else None


@contextlib.contextmanager
def weights_apart() -> Iterator[None]:
    """What is written in here holds no weights of encoders: within a model's file they would be copied
    four times on their way to the network."""
    token = WEIGHTS_ARE_APART.set(True)
    try:
        yield
    finally:
        WEIGHTS_ARE_APART.reset(token)


def read_weights(path: Path) -> Dict[str, torch.Tensor]:
    """path (Path): A file that `BertShim.save_weights` wrote.
    RETURNS (Dict[str, torch.Tensor]): The weights by name.
    RAISES: ValueError if it is damaged."""
    try:
        state = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path}, the weights of the encoder, cannot be read: {error}. The file is cut off or "
            f"damaged: copy or save the pipeline again."
        ) from error
    # They are views of the file, which may be written anew while they are in use.
    return {name: tensor.clone() for name, tensor in state.items()}


def share_gpu_memory() -> None:
    """Have CuPy, which computes spaCy's layers on a GPU, take its memory from torch, unless it was told
    to take it elsewhere: else each keeps what the other lacks."""
    if isinstance(get_current_ops(), CupyOps) and not context_pools.get():
        from cupy import get_default_memory_pool

        set_gpu_allocator("pytorch")
        get_default_memory_pool().free_all_blocks()


class BertShim(PyTorchShim):
    """Runs, steps and saves the torch module of an encoder.

    model (nn.Module): The module, on the meta device until it is loaded, in eval mode.
    mixed_precision (Union[bool, str]): Train with bfloat16 matrix products; "auto" where the hardware has them.
    """

    def __init__(self, model: nn.Module, *, mixed_precision: Union[bool, str] = False) -> None:
        # Not Thinc's own initialisation: it would move the module to a device at once, which a
        # module without memory cannot do; bfloat16 needs no scaler of gradients.
        Shim.__init__(self, model)
        share_gpu_memory()
        if mixed_precision not in (True, False, "auto"):
            raise ValueError(
                f'mixed_precision is {mixed_precision!r}, but it must be true, false or "auto".'
            )
        self._precision = mixed_precision
        self._inference = "fp32"
        # How it predicts: made when it is first needed, and again when the weights have changed.
        self._made = Made(self._inference, None, None)
        # Who steps it, if AdamW does; weak, so that its moments go when training is over.
        self._stepped_by: Optional[weakref.ref[AdamW]] = None
        self._is_substituted = False

    def __getstate__(self) -> Dict[str, Any]:
        return {**self.__dict__, "_stepped_by": None, "_made": self._made._replace(engine=None)}

    @property
    def is_loaded(self) -> bool:
        """RETURNS (bool): Whether the module has weights."""
        # They come and go together, and every prediction asks.
        return not next(self._model.parameters()).is_meta

    @property
    def has_gradient(self) -> bool:
        """RETURNS (bool): Whether there is anything to step with."""
        return any(parameter.grad is not None for parameter in self._model.parameters())

    @property
    def trains_in_bf16(self) -> bool:
        """RETURNS (bool): Whether matrix products run in bfloat16 in training."""
        if self._precision == "auto":
            return multiplies_bf16(self.device)
        return bool(self._precision)

    @property
    def inference(self) -> str:
        """RETURNS (str): What predictions are computed in: "fp32", "bf16", "int8" or "auto"."""
        return self._inference

    @inference.setter
    def inference(self, inference: str) -> None:
        # In this order: an engine that another thread is making meanwhile is for what it was asked.
        self._inference = check_inference(inference)
        self._made = Made(inference, None, None)

    def engine(self) -> Optional[Engine]:
        """RETURNS (Optional[Engine]): What predicts with the weights as they are now; None if the
        module itself has to, which is so where something was added to it."""
        encoder, asked = self._model.encoder, self._inference
        identity = identity_of(encoder)
        if identity is None or (asked == "fp32" and self.device.type != "cpu"):
            # What was made before may not be what the weights are when this is over.
            self.forget_engine()
            return None
        if (engine := self._made.of(asked, identity)) is not None:
            return engine
        with making_engines():
            # Another thread may just have made it.
            if (engine := self._made.of(asked, identity)) is None:
                was_asked, precision = self._made[:2]
                chosen = precision if was_asked == asked else None
                self.forget_engine()  # before the next one takes memory, too
                engine = make_engine(encoder, chosen or asked)
                self._made = Made(asked, engine.precision, engine)
        return engine

    def forget_engine(self) -> None:
        """Give back the memory of what predicted so far. The next prediction makes it anew."""
        if self._made.engine is not None:
            self._made = self._made._replace(engine=None)

    def target_device(self) -> torch.device:
        """RETURNS (torch.device): The device that Thinc computes on at the moment."""
        return get_torch_default_device()

    def predict(self, inputs: ArgsKwargs) -> Dict[str, torch.Tensor]:
        """inputs (ArgsKwargs): What the module is called with.
        RETURNS (Dict[str, torch.Tensor]): Its results. The module is in eval mode already."""
        # Without a caller's autocast, which threads that encode side by side would not know of.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self._model(*inputs.args, engine=self.engine(), **inputs.kwargs)

    def begin_update(
        self, inputs: ArgsKwargs
    ) -> Tuple[Dict[str, torch.Tensor], Callable[[ArgsKwargs], None]]:
        """inputs (ArgsKwargs): What the module is called with.
        RETURNS (Tuple[Dict[str, torch.Tensor], Callable]): Its results, and a callback that takes
            tensors and their gradients and adds to the gradients of the weights."""
        # A copy of weights that are about to change.
        self.forget_engine()
        table = self._model.encoder.embeddings.pieces
        try:
            self._model.train()
            table.sparse = of_rows = reads_rows(table)
            results = self._model(*inputs.args, bf16=self.trains_in_bf16, **inputs.kwargs)
        finally:
            table.sparse = False
            self._model.eval()

        def backprop(gradients: ArgsKwargs) -> None:
            try:
                (tensors,), given = gradients.args, gradients.kwargs["grad_tensors"]
                # Whoever evaluates may have switched gradients off; what was put off comes then.
                with torch.inference_mode(False), torch.enable_grad():
                    send_back(given, tensors)
                if of_rows and (gradient := table.weight.grad) is not None and gradient.is_sparse:
                    # Batches that are accumulated read the same rows.
                    table.weight.grad = gradient.coalesce()
            except BaseException:  # out of memory, or Ctrl-C
                # Of some weights it may be there already, and would be added to the next batch's.
                self._model.zero_grad(set_to_none=True)
                raise

        return results, backprop

    def finish_update(self, optimizer: Optimizer) -> None:
        """Step with the gradients so far and clear them.

        optimizer (Optimizer): Ours steps the whole module at once; any other of Thinc's array by array.
        RAISES: FloatingPointError before the step if a gradient is not finite. What heads sent is
            checked before, so it overflowed on its way: the last steps of AdamW are taken back.
        """
        if not self.has_gradient:
            return
        try:
            if isinstance(optimizer, AdamW):
                self._stepped_by = weakref.ref(optimizer)
                self._step_whole(optimizer)
            else:
                check_finite_gradients(self._model)
                self._step_arrays(optimizer)
        finally:
            self._model.zero_grad(set_to_none=True)

    def _step_whole(self, optimizer: AdamW) -> None:
        try:
            optimizer.step_module(self.id, self._model)
        except FloatingPointError as error:
            if not optimizer.recover():
                raise
            raise FloatingPointError(
                f"{error} The steps before went too far; {TAKEN_BACK}"
            ) from None

    def check_results(self, results: Dict[str, torch.Tensor], docs: Sequence[HasText]) -> None:
        """results (Dict[str, torch.Tensor]): What the module made.
        docs (Sequence[HasText]): The Docs that it was made of.
        RAISES: FloatingPointError if it is not finite: the weights are spoilt. They are put back to
            where they were good, and the heads' with them, if it was AdamW that stepped them."""
        # Of averages in the place of the weights nothing can be put back; the next update sees it.
        # A sum takes a tenth of the time that asking each takes. It may be infinite of finite numbers.
        vectors = [tensor.detach() for tensor in results.values()]
        # One number, so that a device is waited for once.
        if self._is_substituted or math.isfinite(sum(v.sum() for v in vectors)):
            return
        if all(bool(v.isfinite().all()) for v in vectors):
            return
        optimizer = None if self._stepped_by is None else self._stepped_by()
        remedy = "If that happened in training, use a lower learning rate; else load other weights."
        if optimizer is not None and optimizer.recover():
            remedy = f"The steps before went too far; {TAKEN_BACK} Use a lower learning rate."
        raise FloatingPointError(
            f"The encoder's vectors of {describe(docs)} are not finite: its weights are spoilt. "
            f"{remedy}"
        )

    def _step_arrays(self, optimizer: Optimizer) -> None:
        for name, parameter in self._model.named_parameters():
            if parameter.grad is not None:
                weights = cast(FloatsXd, torch2xp(parameter.data))
                gradient = cast(FloatsXd, torch2xp(parameter.grad.to_dense()))
                stepped, _ = optimizer((self.id, name), weights, gradient)
                # In place where the optimizer worked in place, else a copy.
                with torch.no_grad():
                    parameter.copy_(xp2torch(stepped, device=parameter.device))

    @contextlib.contextmanager
    def use_params(self, params: Dict[Any, Any]) -> Iterator[None]:
        """Use other weights for a while, such as the averages that an optimizer keeps.

        params (Dict[Tuple[int, str], FloatsXd]): Weights by shim id and name.
        """
        backup = {}
        substituted, self._is_substituted = self._is_substituted, True
        try:
            with torch.no_grad():
                for name, parameter in self._model.named_parameters():
                    if (self.id, name) in params:
                        backup[name] = parameter.detach().clone()
                        parameter.copy_(xp2torch(params[(self.id, name)], device=parameter.device))
            yield
        finally:
            self._is_substituted = substituted
            with torch.no_grad():
                for name, parameter in self._model.named_parameters():
                    if name in backup:
                        parameter.copy_(backup[name])

    def copy(self) -> "BertShim":
        """RETURNS (BertShim): A copy that an optimizer tells from this one."""
        copied = super().copy()
        with Shim.global_id_lock:
            Shim.global_id += 1
            copied.id = Shim.global_id
        return copied

    def to_device(self, device_type: str, device_id: int) -> None:
        """device_type (str): "cpu" or "gpu". device_id (int): Which GPU."""
        if self.is_loaded:
            super().to_device(device_type, device_id)

    def to_bytes(self) -> bytes:
        """RETURNS (bytes): The weights as safetensors; no weights if none are loaded, or within `weights_apart`."""
        state = b""
        if self.is_loaded and not WEIGHTS_ARE_APART.get():
            state = safetensors.torch.save(self._state())
        return srsly.msgpack_dumps({"config": self.cfg, "state": state})

    def from_bytes(self, bytes_data: bytes) -> "BertShim":
        """bytes_data (bytes): What `to_bytes` wrote.
        RETURNS (BertShim): This shim with those weights; without weights, if none were loaded then.
        RAISES: ValueError if they are weights of another network."""
        message = srsly.msgpack_loads(bytes_data)
        self.cfg = message["config"]
        if message["state"]:
            self._load(safetensors.torch.load(message["state"]))
        else:
            self._model.to("meta")
        return self

    def save_weights(self, path: Path, *, like: Path) -> None:
        """path (Path): The file to write, safetensors. It is there as a whole or not at all; not, if no
            weights are loaded.
        like (Path): A file that everybody may read who may read this one."""
        if not self.is_loaded:
            path.unlink(missing_ok=True)
            return
        # spaCy does not wait for the disk with the other files of a pipeline.
        with replacing(path, synced=False) as temporary:
            # It writes a file that only its owner may read.
            safetensors.torch.save_file(self._state(), temporary)
            shutil.copymode(like, temporary)

    def take_weights(self, state: Dict[str, torch.Tensor]) -> None:
        """state (Dict[str, torch.Tensor]): What `read_weights` returned.
        RAISES: ValueError if they are of another network."""
        self._load(state)

    def differs_from(self, other: "BertShim") -> bool:
        """other (BertShim): Another one, or this one.
        RETURNS (bool): Whether they are known to have different weights; not if one has none yet."""
        if self is other or not (self.is_loaded and other.is_loaded):
            return False
        a, b = self._state(), other._state()
        return a.keys() != b.keys() or not all(map(torch.equal, a.values(), b.values()))

    def _state(self) -> Dict[str, torch.Tensor]:
        return {k: v.detach().cpu().contiguous() for k, v in self._model.state_dict().items()}

    def _load(self, state: Dict[str, torch.Tensor]) -> None:
        expected = {name: tuple(value.shape) for name, value in self._model.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in state.items()}
        if expected != found:
            wrong = [n for n in {**expected, **found} if expected.get(n) != found.get(n)]
            first = wrong[0]
            raise ValueError(
                f"The saved weights are not those of this network: {len(wrong)} differ, the first "
                f"is {first!r}: saved {found.get(first)}, expected {expected.get(first)}. "
                f"Load the pipeline with the config that it was saved with."
            )
        self.forget_engine()
        device: Optional[torch.device] = self.target_device()
        self._model.load_state_dict({k: v.to(device) for k, v in state.items()}, assign=True)
        for parameter in self._model.parameters():
            parameter.requires_grad_(True)
