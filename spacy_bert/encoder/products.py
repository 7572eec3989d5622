"""The matrix products of an encoder at inference: rows -> activation(rows @ weight' + bias).

A product keeps its weights in the form that its kernel reads fastest. The kernels of oneDNN and FBGEMM
are operators of torch without a public name: whether this torch has them is found out by asking them
for a small product (`engine.make_engine`).

Legend: R rows, I inputs, O outputs.
"""

from typing import Any, Callable, NamedTuple, Optional, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import ACTIVATIONS

Product = Callable[[Tensor], Tensor]  # (R, I) -> (R, O)

# Packed weights take rows of any number; this is what their layout is chosen for.
USUAL_ROWS = 1024
INT8 = 127  # largest size of a weight, and of an activation that may be negative
# Where a processor has no instructions for neural networks (VNNI), it adds the products of two
# weights and two activations in 16 bits, which hold them only if the weights are no larger.
INT8_IN_16_BITS = 63
ZERO = 128  # the byte that stands for an activation of zero
# Up to so many rows, packed weights are read faster, also where many rows are multiplied faster without.
FEW_ROWS = 64
# oneDNN sets each 8-bit product up anew, which for the few rows of a short text takes longer than the
# product; FBGEMM does not, but is slower with many rows (measured on two cores with AVX2).
FEW_INT8_ROWS = 128


class Biased(NamedTuple):
    """A linear layer with another bias.

    weight (Tensor): Shape (O, I).
    bias (Tensor): Shape (O,).
    """

    weight: Tensor
    bias: Tensor


Affine = Union[nn.Linear, Biased]


class PlainProduct:
    """torch's own linear layer.

    layer (Affine): The layer; its weights are not copied, if they have that type already.
    activation (Optional[str]): A name of ACTIVATIONS.
    dtype (torch.dtype): What to compute in.
    """

    def __init__(self, layer: Affine, activation: Optional[str], dtype: torch.dtype) -> None:
        self.weight, self.bias = layer.weight.detach().to(dtype), layer.bias.detach().to(dtype)
        self.activation = ACTIVATIONS[activation].in_place if activation else None
        self.dtype = dtype

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (Tensor): Shape (R, I), of any type. RETURNS (Tensor): Shape (R, O)."""
        output = F.linear(rows.to(self.dtype), self.weight, self.bias)
        return self.activation(output) if self.activation else output


class PackedProduct:
    """oneDNN's linear layer with weights in its own layout, and the activation fused into it.

    layer (Affine): The layer; its weights are copied.
    activation (Optional[str]): A name of ACTIVATIONS.
    dtype (torch.dtype): float32 or bfloat16.
    """

    def __init__(self, layer: Affine, activation: Optional[str], dtype: torch.dtype) -> None:
        weight = layer.weight.detach().to(dtype).contiguous()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, USUAL_ROWS)
        self.bias = layer.bias.detach().to(dtype)
        self.fused, self.algorithm = ACTIVATIONS[activation].fused if activation else ("none", "")
        self.dtype = dtype

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (Tensor): Shape (R, I), of any type. RETURNS (Tensor): Shape (R, O)."""
        return torch.ops.mkldnn._linear_pointwise(
            rows.to(self.dtype), self.packed, self.bias, self.fused, [], self.algorithm
        )


class PackedForFew:
    """Few rows by `PackedProduct`, and more by `PlainProduct`; the activation is torch's own for both.

    Where there is no AVX-512, MKL, which torch multiplies with, is faster than oneDNN with many rows,
    and torch's GELU takes half the time of oneDNN's (two cores with AVX2: 24 and 28 ms for the products
    of a layer of MiniLM with 1,024 rows).

    layer (Affine): The layer; its weights are copied once.
    activation (Optional[str]): A name of ACTIVATIONS.
    """

    def __init__(self, layer: Affine, activation: Optional[str]) -> None:
        self.few = PackedProduct(layer, None, torch.float32)
        self.many = PlainProduct(layer, None, torch.float32)
        self.activation = ACTIVATIONS[activation].in_place if activation else None

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (Tensor): Shape (R, I), float32. RETURNS (Tensor): Shape (R, O), float32."""
        output = (self.few if len(rows) <= FEW_ROWS else self.many)(rows)
        return self.activation(output) if self.activation else output


class Int8Product:
    """A linear layer in 8-bit integers: weights by output, activations by row. By oneDNN, and few rows by
    FBGEMM, if wanted: integers have one sum only, so both give the same.

    Each row gets a scale of its own, so that it comes out the same whatever else is in the batch.

    layer (Affine): The layer; its weights are copied.
    activation (Optional[str]): A name of ACTIVATIONS.
    floor (Optional[float]): What no element of the rows is below, if that is known; all 256 values of a
        byte are then used, and the steps are half as wide.
    largest (int): Largest size of a weight: INT8, or INT8_IN_16_BITS.
    few (bool): Whether to keep the weights in FBGEMM's form, too, for up to FEW_INT8_ROWS rows.
    """

    def __init__(
        self,
        layer: Affine,
        activation: Optional[str],
        *,
        floor: Optional[float] = None,
        largest: int = INT8,
        few: bool = False,
    ) -> None:
        weight = layer.weight.detach().float()
        self.scales = weight.abs().amax(1).clamp_min(1e-30) / largest  # (O,)
        rounded = (weight / self.scales[:, None]).round_().to(torch.int8)
        self.packed = torch.ops.onednn.qlinear_prepack(rounded, [USUAL_ROWS, weight.shape[1]])
        self.zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        self.bias = layer.bias.detach().float().clone()
        self.floor = floor
        if floor is not None:
            # The rows are raised by that much, which adds as much of the sum of each weight's inputs.
            self.bias += floor * self.scales * rounded.sum(1)
        self.activation = ACTIVATIONS[activation].in_place if activation else None
        self.few = _pack_for_fbgemm(rounded, self.scales) if few else None

    def __call__(self, rows: Tensor) -> Tensor:
        """rows (Tensor): Shape (R, I), float32. RETURNS (Tensor): Shape (R, O), float32."""
        if self.floor is None:
            zero = ZERO
            steps = _largest(rows).clamp_min_(1e-30).div_(INT8)  # (R, 1)
            scaled = rows / steps
        else:
            zero, steps = 0, (rows.amax(1, keepdim=True) - self.floor).div_(255)
            scaled = (rows * (1 / steps)).add_(-self.floor / steps - ZERO)
        scaled.round_()  # -128 to 127
        if self.few is not None and len(rows) <= FEW_INT8_ROWS:
            # FBGEMM makes them bytes itself, and adds its zero.
            output = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                scaled if zero else scaled.add_(ZERO), 1.0, zero, self.few
            )
        else:
            # Not to bytes directly: torch has fast code for the conversion to signed integers only.
            quantized = scaled.to(torch.int8).view(torch.uint8).bitwise_xor_(ZERO)  # adds 128
            output = torch.ops.onednn.qlinear_pointwise(
                quantized, 1.0, zero, self.packed, self.scales, self.zeros, None, 1.0, 0,
                torch.float32, "none", [], "",
            )  # fmt: skip
        output = torch.addcmul(self.bias, output, steps, out=output)
        return self.activation(output) if self.activation else output


def _largest(rows: Tensor) -> Tensor:
    """rows (Tensor): Shape (R, I). RETURNS (Tensor): The largest size in each row, shape (R, 1)."""
    if len(rows) <= FEW_INT8_ROWS:
        return rows.abs().amax(1, keepdim=True)
    # Two passes that only read are faster than one that writes, where there is much to write.
    return torch.maximum(rows.amax(1, keepdim=True), -rows.amin(1, keepdim=True))


def _pack_for_fbgemm(rounded: Tensor, scales: Tensor) -> Any:
    """rounded (Tensor): Weights, shape (O, I), int8. scales (Tensor): Their scales, shape (O,).
    RETURNS (Any): What FBGEMM reads.
    RAISES: RuntimeError where this torch, or the processor, has no FBGEMM."""
    zeros = torch.zeros(len(rounded), dtype=torch.int64, device=rounded.device)
    weight = torch._make_per_channel_quantized_tensor(rounded, scales.double(), zeros, 0)
    before = torch.backends.quantized.engine
    try:
        # The usual one, "x86", takes oneDNN's form where the processor has VNNI.
        torch.backends.quantized.engine = "fbgemm"
        return torch.ops.quantized.linear_prepack(weight, None)
    finally:
        torch.backends.quantized.engine = before
