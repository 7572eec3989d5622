"""Where a run computes."""

from typing import List

import pytest
import torch

from spacy_bert.pretraining.device import use_device


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches torch's own error for a device that is not there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert use_device("auto") == use_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="no GPU.*auto"):
        use_device("cuda")


def test_one_of_two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches memory of the first GPU being used by a run on the second, and a GPU that is not there."""
    current: List[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    assert use_device("auto") == use_device("cuda") == torch.device("cuda") and not current
    assert use_device("cuda:1") == torch.device("cuda:1") and current == [torch.device("cuda:1")]
    for name in ("cuda:2", "cuda:one", "gpu"):
        with pytest.raises(ValueError, match=f"device = '{name}', but there are 2 GPUs"):
            use_device(name)
