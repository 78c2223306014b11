"""Evaluation of pre-trained features."""

from peridot.evaluation.linear_probe import LinearProbe, LinearProbeLoop, fit_linear_probe

__all__ = ['LinearProbe', 'LinearProbeLoop', 'fit_linear_probe']
