"""What students give objectives."""

from collections.abc import Callable

from torch import Tensor


class PointFeatures:
    """Features of all points of a batch, computed once and read where objectives want them.

    Attributes:
        inside: Bool (N,), False for points that lie outside the network's range; None when it has no limit.
    """

    inside: Tensor | None = None

    def at(self, points: Tensor, transform: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Features of some points.

        Args:
            points: Int64 (P,) rows of the concatenated clouds.
            transform: Maps rows of features (M, C) to (M, D). It is applied to what the network computed,
                before anything is interpolated.

        Returns:
            (P, C), or (P, D) with a transform.
        """
        raise NotImplementedError
