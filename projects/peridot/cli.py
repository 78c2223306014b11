"""What the programs in `tools/` share."""

import sys
from collections.abc import Callable

from peridot.errors import PeridotError


def run(main: Callable[[], None]) -> None:
    """Call `main`; an error the user can mend ends as one line on stderr and exit status 1."""
    try:
        main()
    except PeridotError as error:
        sys.exit(f'error: {last_line(error)}')
    except KeyboardInterrupt:
        sys.exit('interrupted; the same command continues where it stopped')


def last_line(error: BaseException) -> str:
    """Message of an error; a data loader's worker wraps it in a traceback whose last line is the message."""
    line = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return line.split('Error: ', 1)[1] if line.startswith('peridot.errors.') else line
