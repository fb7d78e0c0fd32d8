"""Items, few-shot samples, samplers, loaders."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from dassl_toy import toy_config

from dassl.data import DataManager, DatasetWrapper
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum, build_dataset
from dassl.data.samplers import build_sampler


def _items(labels, domains=None):
    domains = [0] * len(labels) if domains is None else domains
    return [Datum(f"{i}.png", la, do, f"c{la}") for i, (la, do) in enumerate(zip(labels, domains, strict=True))]


def test_datum_is_read_only():
    item = Datum("a.png", 2, 1, "cat")
    assert (item.impath, item.label, item.domain, item.classname) == ("a.png", 2, 1, "cat")
    for name in ("impath", "label", "domain", "classname", "other"):
        with pytest.raises(AttributeError):
            setattr(item, name, 0)
    with pytest.raises(TypeError, match="string"):
        Datum(3)


def test_dataset_base():
    train, test = _items([2, 0, 2]), _items([1])
    dataset = DatasetBase(train_x=train, test=test)
    assert dataset.train_x is train and dataset.test is test and dataset.val is None and dataset.train_u is None
    assert dataset.num_classes == 3 and dataset.lab2cname == {0: "c0", 2: "c2"} and dataset.classnames == ["c0", "c2"]
    with pytest.raises(ValueError, match="DatasetBase has no training images"):
        DatasetBase(train_x=[])
    dataset.domains = ["art", "photo"]
    dataset.check_input_domains(["art"], ["photo"])
    with pytest.raises(ValueError, match="did you mean 'photo'"):
        dataset.check_input_domains(["art"], ["photos"])
    assert dict(dataset.split_dataset_by_label(train)) == {2: [train[0], train[2]], 0: [train[1]]}
    two = _items([0, 0, 0], [1, 0, 1])
    assert dict(dataset.split_dataset_by_domain(two)) == {1: [two[0], two[2]], 0: [two[1]]}


def test_fewshot_draws_class_by_class_in_order_of_appearance(capsys):
    labels = [3, 1, 3, 1, 3, 1, 0, 3]
    train = _items(labels)
    dataset = DatasetBase(train_x=train)
    random.seed(5)
    picked = dataset.generate_fewshot_dataset(train, num_shots=2)
    assert capsys.readouterr().out == "Creating a 2-shot dataset\n"
    random.seed(5)
    expected = []
    for label in (3, 1, 0):
        group = [item for item in train if item.label == label]
        expected += random.sample(group, 2) if len(group) >= 2 else group
    assert picked == expected and [item.label for item in picked] == [3, 3, 1, 1, 0]
    repeated = dataset.generate_fewshot_dataset(train, num_shots=3, repeat=True)
    assert Counter(item.label for item in repeated) == {3: 3, 1: 3, 0: 3}
    both = dataset.generate_fewshot_dataset(train, train[:2], num_shots=1)
    assert [len(part) for part in both] == [3, 2]
    assert dataset.generate_fewshot_dataset(train, num_shots=-1) is train
    assert dataset.generate_fewshot_dataset(train, train, num_shots=0) == (train, train)


def test_unknown_and_left_out_datasets(tmp_path):
    cfg = toy_config(tmp_path, "DATASET.NAME", "ToyColors")
    with pytest.raises(ValueError, match="'ToyColors'; did you mean 'ToyColours'"):
        build_dataset(cfg)
    cfg.DATASET.NAME = "VLCS"
    with pytest.raises(ValueError, match="dataset 'VLCS' is part of upstream Dassl.*KaiyangZhou/Dassl.pytorch"):
        build_dataset(cfg)


def _epoch(kind, items, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    sampler = build_sampler(kind, data_source=items, generator=generator, **options)
    order = list(sampler)
    assert len(sampler) == len(order)
    return order


def test_plain_samplers():
    items = _items([0] * 20)
    assert _epoch("SequentialSampler", items) == list(range(20))
    first = _epoch("RandomSampler", items)
    assert sorted(first) == list(range(20)) and first != sorted(first)
    assert first == _epoch("RandomSampler", items) != _epoch("RandomSampler", items, seed=1)
    with pytest.raises(ValueError, match="did you mean 'RandomSampler'"):
        build_sampler("RandomSample")


def _batches(order, size):
    assert len(order) % size == 0
    return [order[i : i + size] for i in range(0, len(order), size)]


def test_random_domain_sampler():
    domains = [0] * 9 + [1] * 6 + [2] * 7
    items = _items([0] * 22, domains)
    order = _epoch("RandomDomainSampler", items, batch_size=6, n_domain=0)
    assert len(order) == 18 == len(set(order))  # three batches of two each, as domain 1 has only three pairs
    for batch in _batches(order, 6):
        assert Counter(domains[i] for i in batch) == {0: 2, 1: 2, 2: 2}
    pairs = _batches(_epoch("RandomDomainSampler", items, batch_size=4, n_domain=2), 4)
    for batch in pairs:
        assert sorted(Counter(domains[i] for i in batch).values()) == [2, 2]
    assert len({frozenset(domains[i] for i in batch) for batch in pairs}) > 1
    with pytest.raises(ValueError, match="BATCH_SIZE 5 is not a multiple of N_DOMAIN"):
        build_sampler("RandomDomainSampler", data_source=items, batch_size=5, n_domain=2)
    with pytest.raises(ValueError, match="only 3"):
        build_sampler("RandomDomainSampler", data_source=items, batch_size=8, n_domain=4)


def test_sequential_domain_sampler_keeps_the_order_of_domains():
    domains = [1, 0] * 6
    order = _epoch("SeqDomainSampler", _items([0] * 12, domains), batch_size=4)
    assert len(order) == len(set(order)) == 12
    for batch in _batches(order, 4):
        assert [domains[i] for i in batch] == [1, 1, 0, 0]


def test_random_class_sampler_fills_small_classes():
    labels = [0] * 8 + [1] * 5 + [2] * 1 + [3] * 4
    order = _epoch("RandomClassSampler", _items(labels), batch_size=8, n_ins=4)
    for batch in _batches(order, 8):
        assert sorted(Counter(labels[i] for i in batch).values()) == [4, 4]
    assert len(order) == 16 and {0} < {labels[i] for i in order}
    assert order != _epoch("RandomClassSampler", _items(labels), seed=1, batch_size=8, n_ins=4)


def test_wrapper_items(tmp_path):
    cfg = toy_config(tmp_path, "DATALOADER.RETURN_IMG0", "True", "DATALOADER.K_TRANSFORMS", "2")
    items = build_dataset(cfg).train_x

    def size(image):
        return torch.tensor(image.size)

    item = DatasetWrapper(cfg, items, transform=size, is_train=True)[3]
    assert sorted(item) == ["domain", "img", "img0", "impath", "index", "label"]
    assert (item["label"], item["domain"], item["impath"], item["index"]) == (0, 0, items[3].impath, 3)
    assert [view.tolist() for view in item["img"]] == [[24, 20], [24, 20]] and item["img0"].shape == (3, 8, 8)
    test_item = DatasetWrapper(cfg, items, transform=[size, lambda image: image.mode, size])[0]
    assert test_item["img"].tolist() == [24, 20] and test_item["img2"] == "RGB" and "img3" in test_item
    cfg.DATALOADER.K_TRANSFORMS = 1
    assert DatasetWrapper(cfg, items, is_train=True)[0]["img"].size == (24, 20)
    cfg.DATALOADER.K_TRANSFORMS = 2
    with pytest.raises(ValueError, match="K_TRANSFORMS is 2"):
        DatasetWrapper(cfg, items, is_train=True)


def test_manager(tmp_path, capsys):
    cfg = toy_config(tmp_path, "DATASET.ALL_AS_UNLABELED", "True", "DATALOADER.TEST.BATCH_SIZE", "4")
    dm = DataManager(cfg)
    out = capsys.readouterr().out
    assert out.startswith("Loading dataset: ToyColours\nBuilding transform_train\n")
    assert [line.split()[-2:] for line in out.splitlines()[-7:-1]] == [
        ["Dataset", "ToyColours"],
        *(["classes", "3"], ["train_x", "16"], ["train_u", "16"], ["val", "6"], ["test", "6"]),
    ]
    assert (dm.num_classes, dm.num_source_domains) == (3, 0)
    assert dm.lab2cname == {0: "red", 1: "green", 2: "blue"} and dm.dataset.classnames == ["red", "green", "blue"]
    assert [len(x) for x in (dm.train_loader_x, dm.train_loader_u, dm.val_loader, dm.test_loader)] == [4, 4, 2, 2]
    batch = next(iter(dm.test_loader))
    assert batch["img"].shape == (4, 3, 8, 8) and batch["label"].tolist() == [1, 2, 0, 1]
    order_x, order_u = (
        [i for batch in loader for i in batch["index"].tolist()] for loader in (dm.train_loader_x, dm.train_loader_u)
    )
    assert sorted(order_x) == sorted(order_u) and order_x != order_u


def test_manager_without_val_and_with_own_transforms(tmp_path, capsys):
    cfg = toy_config(tmp_path, "DATASET.SOURCE_DOMAINS", "('noval',)")
    dm = DataManager(cfg, custom_tfm_train=[np.array, np.array], custom_tfm_test=np.array)
    out = capsys.readouterr().out
    assert "* Using custom transform for training\n* Using custom transform for testing\n" in out
    assert "Building" not in out and "Source     ['noval']" in out
    assert dm.val_loader is None and dm.train_loader_u is None
    assert next(iter(dm.train_loader_x))["img2"].shape == (4, 20, 24, 3)


@pytest.mark.parametrize(
    ("n_items", "is_train", "n_batches"), [(10, True, 2), (10, False, 3), (3, True, 1), (4, True, 1)]
)
def test_last_batch(tmp_path, n_items, is_train, n_batches):
    cfg = toy_config(tmp_path)
    items = build_dataset(cfg).train_x[:n_items]
    loader = build_data_loader(cfg, data_source=items, batch_size=4, tfm=np.array, is_train=is_train)
    assert len(list(loader)) == len(loader) == n_batches


def test_no_items_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no images"):
        build_data_loader(toy_config(tmp_path), data_source=[])

    @DATASET_REGISTRY.register(force=True)
    class NoTest(DatasetBase):
        def __init__(self, cfg):
            super().__init__(train_x=_items([0]))

    with pytest.raises(ValueError, match="NoTest has no test images"):
        DataManager(toy_config(tmp_path, "DATASET.NAME", "NoTest"))


def _draw(image):
    return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item()])


@pytest.mark.parametrize("workers", [0, 2])
def test_seed_fixes_order_and_worker_randomness(tmp_path, workers):
    cfg = toy_config(tmp_path, "DATALOADER.NUM_WORKERS", str(workers))
    items = build_dataset(cfg).train_x

    def epoch(seed):
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        loader = build_data_loader(cfg, "RandomSampler", items, 4, tfm=_draw)
        if workers:
            torch.rand(3)  # what a model draws does not matter
        batches = list(loader)
        return [i for b in batches for i in b["index"].tolist()], torch.cat([b["img"] for b in batches])

    order, draws = epoch(3)
    again, draws_again = epoch(3)
    assert order == again and torch.equal(draws, draws_again)
    assert len(draws.unique()) == 48
    assert epoch(4)[0] != order


def test_unreadable_image_stops_the_loader_by_name(tmp_path):
    cfg = toy_config(tmp_path)
    items = list(build_dataset(cfg).train_x)
    with open(items[2].impath, "r+b") as file:
        file.truncate(100)
    with pytest.raises(OSError, match="02.png"):
        list(build_data_loader(cfg, data_source=items, tfm=np.array))
