"""PandaSet's pickled tables of numbers, read without running code of theirs."""

from __future__ import annotations

import gzip
import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from peridot.errors import DataError

if TYPE_CHECKING:
    from pandas import DataFrame

RESTORE = 'unpack the sequence again'
_GZIP = b'\x1f\x8b'
# classes that a table of numbers with names needs, as pandas 0.25 to 3 store it without pyarrow
_TABLE_PARTS = {
    'builtins': {'slice'},
    '__builtin__': {'slice'},
    '_codecs': {'encode'},
    'numpy': {'dtype', 'ndarray'},
    'numpy.core.multiarray': {'_reconstruct', 'scalar'},
    'numpy._core.multiarray': {'_reconstruct', 'scalar'},
    'numpy.core.numeric': {'_frombuffer'},
    'numpy._core.numeric': {'_frombuffer'},
    'pandas': {'DataFrame', 'Index', 'RangeIndex', 'StringDtype'},
    'pandas._libs.arrays': {'__pyx_unpickle_NDArrayBacked'},
    'pandas._libs.internals': {'_unpickle_block'},
    'pandas.arrays': {'StringArray'},
    'pandas.core.arrays.string_': {'StringArray', 'StringDtype'},
    'pandas.core.frame': {'DataFrame'},
    'pandas.core.indexes.base': {'Index', '_new_Index'},
    'pandas.core.indexes.numeric': {'Float64Index', 'Int64Index', 'UInt64Index'},
    'pandas.core.indexes.range': {'RangeIndex'},
    'pandas.core.internals.blocks': {'new_block'},
    'pandas.core.internals.managers': {'BlockManager'},
}


def read_table(path: Path) -> DataFrame:
    """A pickled pandas table of numbers, and nothing else: no code of the file is run.

    Raises:
        DataError: The file is missing, damaged, or holds anything but a table of numbers.
    """
    from pandas import DataFrame
    from pandas.compat.pickle_compat import Unpickler

    class TableUnpickler(Unpickler):
        """Pandas' own, which knows the names of earlier versions, cut down to what a table needs."""

        def find_class(self, module: str, name: str):
            if name not in _TABLE_PARTS.get(module, ()):
                raise pickle.UnpicklingError(f'it asks for {module}.{name}')
            return super().find_class(module, name)

    try:
        data = path.read_bytes()
        # copies that are handed around may be unpacked, whatever their names say
        table = TableUnpickler(io.BytesIO(gzip.decompress(data) if data.startswith(_GZIP) else data)).load()
    except FileNotFoundError:
        raise DataError(f'{path} is missing: {RESTORE}') from None
    except pickle.UnpicklingError as error:
        raise DataError(f'{path} is no table of numbers ({error}): {RESTORE} from the original archive') from None
    except Exception as error:  # a damaged stream may fail anywhere in gzip, pickle, numpy or pandas
        raise DataError(f'{path} is damaged ({type(error).__name__}): {RESTORE}') from None
    if not isinstance(table, DataFrame):
        raise DataError(f'{path} holds no table, but {type(table).__name__}: {RESTORE}')
    return table


def columns_of(path: Path, table: DataFrame, names: list[str]) -> np.ndarray:
    """Columns of a table of `read_table`.

    Args:
        path: Its file, for errors.
        table: The table.
        names: The columns.

    Returns:
        Float64 (N, len(names)).

    Raises:
        DataError: A column is missing, or the table is empty.
    """
    try:
        values = table[names].to_numpy(np.float64)
    except (KeyError, ValueError, TypeError):
        raise DataError(f'{path} has no columns of numbers {", ".join(names)}: {RESTORE}') from None
    if not len(values):
        raise DataError(f'{path} is empty: {RESTORE}')
    return values
