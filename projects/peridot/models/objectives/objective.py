"""Base of all objectives."""

from torch import Tensor, nn

from peridot.models.batch import EncodedBatch


class Objective(nn.Module):
    """Losses of an `EncodedBatch` that say what the feature of a point should know.

    Args:
        head: Name of the projection head in `model.heads` that it reads the student through.

    Attributes:
        reads_layers: Whether the head may read a stage of the student in place of its features (`student_layer`).
    """

    reads_layers = True

    def __init__(self, head: str) -> None:
        super().__init__()
        self.head = head

    def connect(self, channels: int) -> None:
        """Make what depends on the width of the head; called once, when the model is built.

        Args:
            channels: Width D of the head's embeddings.
        """

    def rescale_steps(self, ratio: float) -> None:
        """Continue in epochs of another length: an objective multiplies its counters of steps by `ratio`."""

    def forward(self, batch: EncodedBatch) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        Returns:
            Scalars by name: losses, whose names begin with `loss` and which are summed over all objectives, and numbers
            for the log (`batch.log`).
        """
        raise NotImplementedError
