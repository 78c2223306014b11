"""Proof that everything works and agrees on a GPU, in minutes; `tools/check_gpu.py` runs it."""
