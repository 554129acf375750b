"""The tiny models and their artifacts, shared with the other folders that ask for them."""

from tests.chain import chain, one_thread, v1, v2

__all__ = ["chain", "one_thread", "v1", "v2"]
