"""mmengine's Runner, whose start fits on a screen."""

import logging

from mmengine import runner
from mmengine.logging import MMLogger

# beginnings of mmengine's messages that are for the log file alone: those that take pages, and two about its own code
HIDDEN = (
    'Config:',
    '\n' + 60 * '-' + '\nSystem environment:',
    'Hooks will be executed in the following order:',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


class Runner(runner.Runner):
    """mmengine's, which writes config, environment and order of hooks into the log file alone.

    The screen then ends with the progress of a run, or with the error that ended it.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        """As mmengine's; see there."""
        logger = super().build_logger(*args, **kwargs)
        files = [handler.baseFilename for handler in logger.handlers if isinstance(handler, logging.FileHandler)]
        if files:
            logger.info(f'config and environment are in {files[0]}')
            for handler in logger.handlers:
                if not isinstance(handler, logging.FileHandler):
                    handler.addFilter(is_for_screen)
        return logger


def is_for_screen(record: logging.LogRecord) -> bool:
    """Whether a record is for the screen."""
    return not record.getMessage().startswith(HIDDEN)
