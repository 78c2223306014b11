import errno

import pytest
from peridot.cli import run


def failing(error: BaseException):
    def main():
        raise error

    return main


@pytest.mark.parametrize('number', [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_cannot_be_written_is_one_line(number):
    with pytest.raises(SystemExit, match=r'error: /data/kitti/training: .*choose another folder'):
        run(failing(OSError(number, 'text', '/data/kitti/training')))


def test_defects_keep_their_traceback():
    with pytest.raises(FileNotFoundError):
        run(failing(FileNotFoundError(errno.ENOENT, 'text', '/data/kitti')))
