"""These tests are collected where Triton interprets; tests/kernels/test_interpreter.py runs them so."""

from __future__ import annotations

import os

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
