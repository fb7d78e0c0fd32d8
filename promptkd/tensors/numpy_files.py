"""NumPy's archives of arrays (.npz), whose headers are compared with the file before an array is made."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib import format as numpy_format

from promptkd.bounded import named, shown
from promptkd.tensors.archives import check_index, check_sizes
from promptkd.texts import clipped


def read_numpy(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by their names; no objects.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is damaged, or claims more than it holds; the message names the array.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {named(path)}")
    try:
        check_index(path)
        with zipfile.ZipFile(path) as archive:
            check_sizes(archive, path.stat().st_size)
            return {info.filename.removesuffix(".npy"): _array(archive, info) for info in archive.infolist()}
    except Exception as error:  # zipfile, zlib and NumPy have many kinds of error for a damaged file
        raise ValueError(f"{named(path)} is no archive of arrays that can be read ({clipped(error)})") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as file:
        version = numpy_format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{shown(info.filename)} has version {version}")
        read = numpy_format.read_array_header_1_0 if version == (1, 0) else numpy_format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
        if dtype.kind not in "fiub" or math.prod(shape) * dtype.itemsize != info.file_size - file.tell():
            raise ValueError(f"{shown(info.filename)} has shape {shown(shape)} of {shown(str(dtype))}, and other bytes")
        numbers = np.frombuffer(bytearray(file.read()), dtype.newbyteorder("="))
    return numbers.reshape(shape, order="F" if by_columns else "C")
