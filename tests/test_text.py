"""Text encoding by common beginnings and in parts: the features and gradients of whole prompts, in less memory."""

from __future__ import annotations

import pytest
import torch
from conftest import CLASSES
from test_train import SRC, learned

from benchmarks.timing import kept_bytes
from promptkd.model import compiling, memory
from promptkd.model.memory import texts_at_once
from promptkd.model.prompting import encode_image, text_tower
from promptkd.model.prompts import Prompts
from promptkd.model.shared_prefix import even_tables, pack_suffixes
from promptkd.model.text import _places, insert_context
from promptkd.model.tokens import embed, tokenize
from promptkd.model.zoo import load_clip

NAMES = [*CLASSES, "Permanent Crop Land of a Very Long Name", "Pasture", "Sea"]


@pytest.fixture(scope="module")
def clip(clips):
    return load_clip(clips["teacher"])


def whole_prompts(clip, prompts: Prompts) -> torch.Tensor:
    """Features (C, D) of all 77 tokens of each prompt through every block: a loop over open_clip's own modules."""
    tower, features = text_tower(clip), []
    texts = [prompts.template.replace("{}", name) for name in NAMES]
    for ids in tokenize(texts):
        n, x = prompts.n_text, tower.token_embedding(ids)  # (77, d)
        x = torch.cat([x[:1], prompts.ctx, x[1 + n :]]) + tower.positional_embedding
        for number, block in enumerate(tower.transformer.resblocks):
            if 0 < number < prompts.depth_text:
                x = torch.cat([x[:1], prompts.text_prompts[number - 1], x[1 + n :]])
            x = block(x[None], attn_mask=tower.attn_mask)[0]
        features.append(tower.ln_final(x)[ids.argmax()] @ tower.text_projection)
    return torch.stack(features)


def gradients(prompts: Prompts, features: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad((features * weights).sum(), list(prompts.parameters())))


@pytest.mark.parametrize("chunk", [-1, 0, 1, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_features_and_gradients_are_those_of_whole_prompts(clip, depth, chunk):
    torch.manual_seed(0)
    prompts = Prompts(clip, n_text=3, depth_text=depth, phrase="a photo of")
    prompts.text_chunk = chunk
    weights = torch.randn(len(NAMES), 24)
    expected = whole_prompts(clip, prompts)
    actual = prompts.encode_text(clip, prompts.tokens(clip, NAMES))
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(gradients(prompts, actual, weights), gradients(prompts, expected, weights), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("position", "before"), [("middle", 2), ("front", 0)])
def test_a_context_around_the_name(clip, position, before):
    """Against a loop over the texts; contexts of 5 tokens, one for each class."""
    prompts = Prompts(clip, n_text=5, n_classes=len(NAMES), position=position)
    tokens = prompts.tokens(clip, NAMES)
    actual = insert_context(tokens, prompts.ctx, position)
    for text, row, ctx, length in zip(actual, tokens.embeddings, prompts.ctx, tokens.name_lengths, strict=True):
        words, name, rest = row[:1], row[6 : 6 + length], row[6 + length :]
        torch.testing.assert_close(text, torch.cat([words, ctx[:before], name, ctx[before:], rest]), rtol=0, atol=0)


@pytest.mark.parametrize("position", ["end", "middle"])
def test_parts_that_are_computed_again_keep_less(clip, position):
    """`middle` takes the way of whole prompts, `end` that of common beginnings."""

    def kept(chunk: int) -> int:
        prompts.text_chunk, sizes = chunk, []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.untyped_storage().nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            prompts.encode_text(clip, tokens)
        return sum(sizes)

    prompts = Prompts(clip, n_text=4, position=position)
    tokens = prompts.tokens(clip, NAMES * 4)
    assert kept(4) < kept(-1) / 4


def test_when_memory_asks_for_parts(clip, monkeypatch, capsys):
    like = torch.zeros(1)
    monkeypatch.setattr("promptkd.model.memory.free_memory", lambda device: 2**30)
    assert texts_at_once(0, 100, 10, 64, 2, like) == (100, False)
    at_once, again = texts_at_once(0, 1000, 20, 768, 12, like)
    assert again and 16 <= at_once < 1000
    assert f"{at_once} at a time" in capsys.readouterr().out
    with torch.no_grad():  # nothing is kept: parts only bound the work space
        assert texts_at_once(0, 5000, 20, 768, 12, like)[1] is False
    assert texts_at_once(-1, 1000, 20, 768, 12, like) == (1000, False)
    assert texts_at_once(7, 1000, 20, 768, 12, like) == (7, True)


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    assert memory._left_to_container(tmp_path) == []
    (tmp_path / "memory.current").write_text("300\n")
    for limit, left in (("max", []), ("1000", [700]), ("200", [0])):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert memory._left_to_container(tmp_path) == left
    alone = memory.free_memory(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert memory.free_memory(torch.device("cpu")) < alone / 2


@pytest.mark.parametrize("position", ["end", "middle"])
def test_predicted_memory_is_near_what_is_kept(clip, position, monkeypatch):
    """Never less, and not more than twice as much: else parts are computed again without need."""
    prompts = Prompts(clip, n_text=4, position=position)
    tokens = prompts.tokens(clip, NAMES * 20)
    predicted = []

    def by_memory(texts: int, size: int, device: torch.device) -> tuple[int, bool]:
        predicted.append(texts * size)
        return texts, False

    monkeypatch.setattr("promptkd.model.memory._by_memory", by_memory)
    kept = kept_bytes(lambda: prompts.encode_text(clip, tokens).sum(), clip)
    assert kept < predicted[0] < 2.2 * kept


def test_tables_hold_every_text_and_little_padding():
    lengths = sorted([2] * 300 + [3] * 400 + [5] * 200 + [9] * 3 + [12])
    tables = even_tables(lengths)
    assert sum(count for count, _ in tables) == len(lengths)
    rows, place = 0, 0
    for count, size in tables:
        assert size == max(lengths[place : place + count])
        rows, place = rows + count * size, place + count
    assert sum(lengths) <= rows < 1.05 * sum(lengths)
    assert even_tables([3, 4]) == [(2, 4)]  # one row more costs less than a second table


def test_examples_of_the_docstrings(clip):
    """shared_prefix.py's table of three prompts, tokens.py's lengths, text.py's row of places, memory.py's parts."""
    cpu = torch.device("cpu")
    prompts = embed(clip, [f"a photo of a {name}." for name in ("cat", "dog", "polar bear")], [1, 1, 2])
    assert prompts.ends == (7, 7, 8) and prompts.common == 5 and prompts.embeddings.shape[:2] == (3, 9)
    (part,), places = pack_suffixes(prompts.ends, prompts.common, 3, cpu)
    assert part.tables == ((3, 4),) and part.texts.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert part.positions.tolist() == [5, 6, 7, 7, 5, 6, 7, 7, 5, 6, 7, 8]
    assert part.read_out.tolist() == [2, 6, 11] and places.tolist() == [0, 1, 2]
    assert part.hidden[0][:, 0].tolist() == [[False] * 3 + [True]] * 2 + [[False] * 4]
    assert pack_suffixes((8, 7, 7), 5, 3, cpu)[1].tolist() == [2, 0, 1]
    assert even_tables([3] * 1000 + [9] * 100) == [(1000, 3), (100, 9)] and even_tables([3, 3, 4]) == [(3, 4)]
    assert _places((2,), 8, 4, 2, cpu).tolist() == [[0, 8, 9, 5, 6, 10, 11, 7]]
    assert memory.KEPT_PER_CHANNEL * 5 * 512 * 12 * 2 == pytest.approx(0.8e6, rel=0.01)


def test_parts_of_the_example(monkeypatch):
    """memory.py's: 8,000 texts of 0.8 MB each, with 8 GB free."""
    monkeypatch.setattr("promptkd.model.memory.free_memory", lambda device: 8 * 10**9)
    half = torch.zeros(1, dtype=torch.float16)
    assert texts_at_once(0, 8000, 5, 512, 12, half) == (1024, True)
    assert texts_at_once(0, 1000, 5, 512, 12, half) == (1000, False)


def test_a_run_in_parts_learns_the_same(run, tmp_path):
    weights = []
    for chunk in ("-1", "2"):
        run("PromptSRC", tmp_path / chunk, *SRC, "TRAIN.TEXT_CHUNK", chunk)
        weights.append(learned(tmp_path / chunk, 2))
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-3, atol=1e-5, msg=name)
    with pytest.raises(ValueError, match="TRAIN.TEXT_CHUNK -2"):
        run("CoOp", tmp_path / "wrong", "TRAIN.TEXT_CHUNK", "-2")


def test_compiled_image_encoder_gives_the_same(clips):
    clip, images = load_clip(clips["student"]), torch.randn(2, 3, 32, 32)
    prompts = [torch.randn(2, 32, requires_grad=True) for _ in range(2)]
    expected = encode_image(clip.visual, images, prompts)
    try:
        compiling.compile_image_encoder(clip)
    except ValueError as error:
        pytest.skip(str(error))
    actual = encode_image(clip.visual, images, prompts)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    pairs = zip(*(torch.autograd.grad(f.square().sum(), prompts) for f in (actual, expected)), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
