"""Record and log of the repairs that are active in this process."""

_active: dict[str, str] = {}
_said: set[str] = set()


def note(repair: str, sentence: str) -> None:
    """Remember that a repair acted; the first sentence for each repair counts."""
    _active.setdefault(repair, sentence)


def report() -> list[str]:
    """One line for each repair that is active in this process, in the order in which they became active."""
    return [f'compat.{repair}: {sentence}' for repair, sentence in _active.items()]


def log_report() -> None:
    """Write each line of `report()` to mmengine's current logger, at INFO, once, on the main process only.

    Call it when the Runner exists: its logger is then the current one, and mmdet3d and spconv are imported.
    """
    from mmengine.dist import is_main_process
    from mmengine.logging import print_log

    for line in report():
        if line not in _said:
            _said.add(line)
            if is_main_process():
                print_log(line, logger='current')
