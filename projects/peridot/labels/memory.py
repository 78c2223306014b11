"""Images that need more memory than there is."""

from collections.abc import Iterator
from contextlib import contextmanager

from peridot.devices import is_out_of_memory
from peridot.errors import DataError

HINT = 'free memory, give fewer --workers, or leave this image out'


@contextmanager
def memory_errors(what: str, hint: str = HINT) -> Iterator[None]:
    """Let a block that runs out of memory end like one that reads a damaged image.

    Args:
        what: The image, for the error.
        hint: What to do.

    Raises:
        DataError: The memory of this machine or of its GPU did not suffice.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f'{what} needs more memory than there is ({reason}): {hint}') from None
