"""Items and splits of a data set."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence

from dassl.utils import check_availability, download_url, extract_archive, mkdir_if_missing


class Datum:
    """One image: path, label, domain and class name, all read-only.

    Raises:
        TypeError: the path is not a string.
    """

    __slots__ = ("_classname", "_domain", "_impath", "_label")

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = "") -> None:
        if not isinstance(impath, str):
            raise TypeError(f"the path of an image is a string, not {type(impath).__name__}")
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        """Path of the image file."""
        return self._impath

    @property
    def label(self) -> int:
        """Label, from 0."""
        return self._label

    @property
    def domain(self) -> int:
        """Number of the domain, from 0."""
        return self._domain

    @property
    def classname(self) -> str:
        """Name of the class."""
        return self._classname

    def __repr__(self) -> str:
        return f"Datum({self._impath!r}, {self._label}, {self._domain}, {self._classname!r})"


class DatasetBase:
    """Splits of a data set: lists of Datum, labels from 0.

    Raises:
        ValueError: no training items.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    domains: Sequence[str] = []  # names of all domains, where there are several

    def __init__(
        self,
        train_x: Sequence[Datum] | None = None,
        train_u: Sequence[Datum] | None = None,
        val: Sequence[Datum] | None = None,
        test: Sequence[Datum] | None = None,
    ) -> None:
        if not train_x:
            raise ValueError(f"{type(self).__name__} has no training images; check DATASET.ROOT and the split file")
        self._train_x = train_x
        self._train_u = train_u
        self._val = val
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self) -> Sequence[Datum]:
        """Labelled training items."""
        return self._train_x

    @property
    def train_u(self) -> Sequence[Datum] | None:
        """Unlabelled training items."""
        return self._train_u

    @property
    def val(self) -> Sequence[Datum] | None:
        """Validation items."""
        return self._val

    @property
    def test(self) -> Sequence[Datum] | None:
        """Test items."""
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        """Class name of each label."""
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        """Class names, ordered by label."""
        return self._classnames

    @property
    def num_classes(self) -> int:
        """Largest label + 1."""
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source: Iterable[Datum]) -> int:
        """Largest label + 1."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source: Iterable[Datum]) -> tuple[dict[int, str], list[str]]:
        """Class name of each label, and the names ordered by label."""
        names = {item.label: item.classname for item in data_source}
        return names, [names[label] for label in sorted(names)]

    def check_input_domains(self, source_domains: Iterable[str], target_domains: Iterable[str]) -> None:
        """Raise ValueError for a domain that the data set does not have."""
        for domain in (*source_domains, *target_domains):
            check_availability(domain, self.domains)

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Download an archive and extract it beside itself.

        Args:
            url: address, or with `from_gdrive` the address of a file on Google Drive.
            dst: where the archive goes; .zip, .tar, .tar.gz or .tgz.

        Raises:
            OSError: the download failed, or the archive is damaged.
            ValueError: the archive holds a link or a path outside of its folder.
            ImportError: `from_gdrive` without the package gdown.
        """
        mkdir_if_missing(os.path.dirname(dst))
        if from_gdrive:
            _download_from_gdrive(url, dst)
        else:
            download_url(url, dst)
        extract_archive(dst, os.path.dirname(dst))
        print(f"Extracted {dst}")

    def generate_fewshot_dataset(
        self, *data_sources: Sequence[Datum], num_shots: int = -1, repeat: bool = False
    ) -> Sequence[Datum] | Sequence[Sequence[Datum]]:
        """Draw `num_shots` items of each class, with the global `random` generator.

        Classes come in order of their first appearance. A class with fewer items keeps them all, or with `repeat` is
        drawn from with replacement. Not positive `num_shots` changes nothing.

        Returns:
            A list for each source; for a single source the list itself.
        """
        if num_shots < 1:
            return data_sources[0] if len(data_sources) == 1 else data_sources
        print(f"Creating a {num_shots}-shot dataset")
        output: list[list[Datum]] = []
        for data_source in data_sources:
            chosen: list[Datum] = []
            for items in self.split_dataset_by_label(data_source).values():
                if len(items) >= num_shots:
                    chosen += random.sample(items, num_shots)
                else:
                    chosen += random.choices(items, k=num_shots) if repeat else items
            output.append(chosen)
        return output[0] if len(output) == 1 else output

    def split_dataset_by_label(self, data_source: Iterable[Datum]) -> defaultdict[int, list[Datum]]:
        """Items by label."""
        groups: defaultdict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.label].append(item)
        return groups

    def split_dataset_by_domain(self, data_source: Iterable[Datum]) -> defaultdict[int, list[Datum]]:
        """Items by domain."""
        groups: defaultdict[int, list[Datum]] = defaultdict(list)
        for item in data_source:
            groups[item.domain].append(item)
        return groups


def _download_from_gdrive(url: str, dst: str) -> None:
    try:
        import gdown
    except ImportError as error:
        raise ImportError(f"downloading from Google Drive needs gdown: pip install gdown (for {url})") from error
    if gdown.download(url, dst, quiet=False) is None:
        raise OSError(f'cannot download "{url}" from Google Drive; fetch it by hand and put it at "{dst}"')
