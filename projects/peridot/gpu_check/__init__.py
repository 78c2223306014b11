"""Proof that everything works and agrees on a GPU, in minutes; `tools/check_gpu.py` runs it."""

# module of each part, which lists its checks, and its budget in seconds
PARTS = {
    'convolutions': ('peridot.gpu_check.convolutions', 20),
    'functions': ('peridot.gpu_check.functions', 40),
    'pretraining': ('peridot.gpu_check.pretraining', 90),
    'processes': ('peridot.gpu_check.processes', 40),
    'finetuning': ('peridot.gpu_check.finetuning', 30),
    'throughput': ('peridot.gpu_check.throughput', 90),
}
