"""Images in tar archives, as WebDataset shards are: read one after the other, nothing is unpacked to the disk."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from promptkd.data.formats import is_image
from promptkd.texts import one_line

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MAX_IMAGE = 1 << 28  # bytes of one image
MAX_MEMBERS = 3_000_000


def is_tar(name: str) -> bool:
    """Whether a file name is a tar archive's."""
    return name.lower().endswith(SUFFIXES)


def images_in_tar(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """The name and the content of each image in an archive, in its order; links, devices and other files are skipped.

    Raises:
        OSError: the archive cannot be opened, or is damaged; the message names it.
        ValueError: an image of more than 256 MB, or more members than any shard has.
    """
    where = one_line(path)
    try:
        with tarfile.open(path, "r|*") as archive:  # a stream: no member is read before its turn
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    raise ValueError(f"{where} has more than {MAX_MEMBERS:,} members")
                if not member.isreg() or not is_image(Path(member.name).name):
                    continue
                if member.size > MAX_IMAGE:
                    raise ValueError(
                        f"{where}: {one_line(member.name)} has {member.size:,} bytes, too many for an image"
                    )
                file = archive.extractfile(member)
                content = b"" if file is None else file.read(MAX_IMAGE + 1)
                if len(content) != member.size:
                    raise tarfile.ReadError("it is cut off")
                yield member.name, content
    except (tarfile.TarError, EOFError) as error:
        raise OSError(f"{where} is damaged or no tar archive ({one_line(error)}): get it again") from error
    except OSError as error:
        if error.errno is None:  # of gzip or bz2; errors of the disk have a number
            raise OSError(f"{where} is damaged or no tar archive ({one_line(error)}): get it again") from error
        raise
