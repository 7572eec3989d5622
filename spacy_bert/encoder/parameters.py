"""Which parameters decay and how fast each layer learns: the groups of BERT's AdamW."""

import re
from typing import Dict, List, NamedTuple, Tuple

from torch import nn

LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


class ParameterGroup(NamedTuple):
    """Parameters that an optimizer treats alike.

    parameters (List[nn.Parameter]): The parameters.
    decays (bool): Whether weight decay applies: to matrices, not to biases and LayerNorms.
    lr_scale (float): Factor on the learning rate.
    """

    parameters: List[nn.Parameter]
    decays: bool
    lr_scale: float


def parameter_groups(
    module: nn.Module, *, depth: int, layer_decay: float = 1.0
) -> List[ParameterGroup]:
    """Group the parameters of a BERT.

    module (nn.Module): The encoder, alone or with heads.
    depth (int): Number of its layers.
    layer_decay (float): Factor on the learning rate from each layer to the one below; embeddings
        are below the first layer, heads above the last (Sun et al. 2019, section 5.3.4).
    RETURNS (List[ParameterGroup]): Groups that hold every trainable parameter once.
    """
    groups: Dict[Tuple[bool, int], List[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (parameter.ndim >= 2, _distance_from_top(name, depth))
            groups.setdefault(key, []).append(parameter)
    return [
        ParameterGroup(parameters, decays, layer_decay**distance)
        for (decays, distance), parameters in groups.items()
    ]


def _distance_from_top(name: str, depth: int) -> int:
    if "embeddings." in name:
        return depth + 1
    layer = LAYER.search(name)
    return depth - int(layer[1]) if layer else 0
