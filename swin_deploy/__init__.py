"""From a trained Swin Transformer to engines on NVIDIA Jetson and desktop GPUs, parity proven at each stage."""

__all__ = ["__version__"]
__version__ = "0.1.0"
