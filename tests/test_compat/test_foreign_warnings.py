import logging
import warnings

from peridot.compat import foreign_warnings


def test_two_warnings_alone_are_silent():
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        foreign_warnings.apply()
        warnings.warn('pkg_resources is deprecated as an API. See https://...', UserWarning, stacklevel=1)
        warnings.warn('img_intersection is not an object of Polygon.', UserWarning, stacklevel=1)
        warnings.warn('a setting is deprecated', UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in seen] == ['a setting is deprecated']


def test_the_name_that_torch_changed_alone_is_silent():
    foreign_warnings.apply()
    logger, seen = logging.getLogger('torch.fx._symbolic_trace'), []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.getMessage())
    logger.addHandler(handler)
    try:
        logger.warning('is_fx_tracing will return true for both fx.symbolic_trace and torch.export. Please use ...')
        logger.warning('tracing failed')
    finally:
        logger.removeHandler(handler)
    assert seen == ['tracing failed']


def test_applying_again_changes_nothing():
    foreign_warnings.apply()
    before = len(warnings.filters), len(logging.getLogger(foreign_warnings.FX_LOGGER).filters)
    foreign_warnings.apply()
    assert (len(warnings.filters), len(logging.getLogger(foreign_warnings.FX_LOGGER).filters)) == before
