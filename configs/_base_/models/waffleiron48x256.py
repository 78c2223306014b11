"""Student of ScaLR with 256 channels."""

_base_ = './waffleiron48x768.py'

model = dict(student=dict(backbone=dict(channels=256)))
