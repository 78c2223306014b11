from dataclasses import replace

from peridot.gpu_check.checks import Differs, LeftOut, run_part


def broken():
    raise ValueError('first line\nlast line')


def differing():
    raise Differs('too far', dict(values=0.5))


def impossible():
    raise LeftOut('there is no GPU')


def test_a_failed_check_does_not_stop_the_others(small):
    checks = dict(broken=broken, differing=differing, impossible=impossible, fine=lambda: dict(loss=1.0))
    rows = list(run_part('part', lambda setup: iter(checks.items()), small))
    assert [row.status for row in rows] == ['failed', 'failed', 'left out', 'ok']
    assert [row.error for row in rows] == ['ValueError: last line', 'too far', 'there is no GPU', None]
    assert 'first line' in rows[0].traceback and rows[2].traceback is None
    assert rows[1].values == dict(values=0.5) and rows[3].values == dict(loss=1.0)


def test_checks_after_the_budget_are_left_out(small):
    setup = replace(small, seconds=-1.0)
    (row,) = run_part('part', lambda setup: iter([('late', broken)]), setup)
    assert row.status == 'left out' and '--seconds' in row.error


def test_an_error_between_checks_is_a_failed_one(small):
    def checks(setup):
        yield 'fine', dict
        raise OSError('no such config')

    rows = list(run_part('part', checks, small))
    assert [row.status for row in rows] == ['ok', 'failed']
    assert rows[1].error == 'OSError: no such config'
