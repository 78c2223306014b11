"""Errors that a user can fix: one line with the file or key, and the command or setting that fixes it."""


class PeridotError(RuntimeError):
    """Base of all errors that `tools/` print as a single line instead of a traceback."""


class DataError(PeridotError):
    """A file, info entry, calibration or label map is missing, truncated or does not fit its partner."""


class CheckpointError(PeridotError):
    """Weights are missing, truncated or belong to another network."""


class ConfigError(PeridotError):
    """A setting contradicts another setting or the data."""


class Preempted(BaseException):
    """A queue ended the run after its state was saved: no error, and nothing that handlers of errors may swallow."""
