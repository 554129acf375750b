"""A tiny model and its artifacts, shared with the other folders that ask for them."""

from tests.chain import v1

__all__ = ["v1"]
