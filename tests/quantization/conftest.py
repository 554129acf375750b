"""The tiny models and their artifacts."""

from tests.chain import chain, one_thread, v1, v2

__all__ = ["chain", "one_thread", "v1", "v2"]
