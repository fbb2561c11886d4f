"""What a device computes with."""

from collections.abc import Mapping

import torch


def computes_bfloat16(device: str) -> bool:
    """Whether a device convolves in bfloat16 by its hardware; by software it takes for ever."""
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # Older versions of torch do not say; float32 is right everywhere.
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16"))
