"""What the hardware computes fast in reduced precision."""

import torch


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 matrix products. Without them torch emulates
    them, which takes longer than 32 bits.

    device (torch.device): The device.
    RETURNS (bool): True for processors with AVX-512 BF16 or AMX, and for GPUs from 2020 on.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # Underscored in torch, so a version without them means no.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, check, bool)() for check in checks)
    return False
