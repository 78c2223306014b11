"""Parts for tests of what happens to the others."""

import os
import signal
import time


def checks(setup):
    """One check that is fine, then whatever the folder's name says."""
    yield 'fine', lambda: dict(number=1)
    yield 'bad', dict(crash=crash, hang=hang)[os.environ['PART_ENDS_WITH']]


def crash():
    """Die as a segmentation fault does."""
    os.kill(os.getpid(), signal.SIGSEGV)


def hang():
    """Never end."""
    time.sleep(600)
