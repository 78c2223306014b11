"""Learning-rate schedules and optimizer constructors; importing this package registers them."""

from peridot.optim.layer_decay import LayerDecay
from peridot.optim.schedules import WarmupCosineLR, WarmupLR, WarmupReciprocalSqrtLR, in_longer_epochs

__all__ = ['LayerDecay', 'WarmupCosineLR', 'WarmupLR', 'WarmupReciprocalSqrtLR', 'in_longer_epochs']
