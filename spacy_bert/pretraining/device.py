"""Where a run computes."""

import torch


def use_device(name: str) -> torch.device:
    """Choose a device; of several GPUs, make it the current one, or torch would also use memory of the first.

    name (str): "auto", "cpu", "cuda" or "cuda:1".
    RETURNS (torch.device): The device.
    RAISES (ValueError): It is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name != "cpu" and not torch.cuda.is_available():
        raise ValueError(
            f'[training] has device = {name!r}, but torch finds no GPU. Set it to "auto", or '
            f"install a build of torch for your GPU and its driver."
        )
    try:
        device = torch.device(name)
        is_there = device.type != "cuda" or (device.index or 0) < torch.cuda.device_count()
    except RuntimeError:
        is_there = False
    if not is_there:
        raise ValueError(
            f"[training] has device = {name!r}, but there are {torch.cuda.device_count()} GPUs, "
            f"counted from cuda:0."
        )
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)
    return device
