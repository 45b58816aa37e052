"""What a solve costs, and which method is the cheapest."""

from torch import Tensor

from deeppcr import kernel


def linear_method(A: Tensor, b: Tensor) -> str:
    """The method that ``"auto"`` takes for these blocks and right-hand sides."""
    length, width, dense = len(b), b.shape[-1], A.ndim > b.ndim
    batch = b[0, ..., 0].numel()
    if kernel.takes(b) or length <= 8:
        return "serial"
    if b.device.type == "cpu" and dense and (batch * width >= 512 or width >= 32):
        return "serial"
    return "pcr" if length <= 256 else "oddeven"
