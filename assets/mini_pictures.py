"""Pictures and words that assets/train_mini.py trains the bundled CLIP pair on. None of them is in the Emoji data set.

Emoji designs: Noto (as emoji-datasource-google), Twemoji, Noto v1 (blobs), EmojiOne 2.3 (EmojiTwo), EmojiOne v1,
Firefox OS, Streamline; and, with --stamps, Tux Paint's captioned stamps. Names and keywords are Unicode CLDR's
(emojibase-data), subgroups those of OpenMoji's table of Unicode 17 (its words, none of its pictures).
"""

import csv
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_emoji import PACKAGES as EMOJI_PACKAGES
from make_emoji import SIZE, SUBGROUPS, classes, fetch, fetch_debian, iconify, key, render
from PIL import Image

PACKAGES = {  # npm name: (version, sha256 of the packed file)
    "emoji-datasource-google": ("16.0.0", "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"),
    "emoji-datasource-twitter": ("16.0.0", "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877"),
    "@iconify-json/noto-v1": ("1.2.5", "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37"),
    "@iconify-json/emojione": ("1.2.3", "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e"),
    "@iconify-json/emojione-v1": ("1.2.3", "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3"),
    "@iconify-json/fxemoji": ("1.2.2", "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef"),
    "@iconify-json/streamline-emojis": ("1.2.4", "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc"),
    "emojibase-data": ("17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"),
}
STAMPS = (  # file of the Debian package, its sha256
    "tuxpaint-stamps-default_2022.06.04-1_all.deb",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)
OTHER = {  # subgroups outside the 20 classes whose pictures help a general eye: subgroup -> its word
    "animal-reptile": "reptile", "animal-amphibian": "reptile", "phone": "phone", "light-video": "camera",
    "household": "household object", "science": "scientific instrument", "book-paper": "book", "game": "game",
    "dishware": "dishes", "writing": "pen", "office": "office supply", "sky-weather": "weather", "place-other": "place",
    "place-geographic": "place", "event": "decoration", "award-medal": "medal", "money": "money", "mail": "mail",
    "medical": "medicine", "music": "music", "lock": "lock", "other-object": "object", "arts-crafts": "art",
}  # fmt: skip
FOLDERS = {  # Tux Paint's folders -> class word; the longest prefix that fits counts
    "animals/birds": "bird", "animals/fish": "marine animal", "animals/shellfish": "marine animal",
    "animals/insects": "bug", "animals/mammals": "mammal", "animals/mammals/aquatic": "marine animal",
    "animals/marsupials": "mammal", "animals/amphibians": "reptile", "animals/lizards": "reptile",
    "animals/dinosaur": "reptile", "clothes": "clothing", "food/fruit": "fruit", "food/vegetables": "vegetable",
    "food/dessert": "sweet food", "food/nuts": "vegetable", "food": "prepared food",
    "hobbies/music": "musical instrument", "household/dishes": "dishes", "household/tools": "tool",
    "household": "household object", "medical": "medicine",
    "plants/flowers": "flower", "plants": "plant", "sports": "sport", "town/houses": "building",
    "town/monuments": "building", "vehicles": "ground vehicle", "vehicles/flight": "aircraft", "vehicles/ship": "boat",
    "military/vehicles": "", "space": "weather", "naturalforces": "weather", "town/cartoon": "building",
}  # fmt: skip


@dataclass
class Pictures:
    """N pictures and what may be said of each.

    pixels: (N, 64, 64, 4) uint8, RGBA. things: (N,) index into the lists that follow, each of length T:
    names, keywords, groups (a class word, "" where none fits).
    """

    pixels: np.ndarray
    things: np.ndarray
    names: list[str]
    keywords: list[list[str]]
    groups: list[str]


def squeeze(text: str) -> str:
    """Letters and digits only, lower case: the key under which names of different sets meet."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


def vocabulary(folders: dict[str, Path]) -> tuple[list[str], dict[str, tuple[str, list[str], str]], dict[str, str]]:
    """Emoji keys in Unicode order; key -> (name, keywords, class word); squeezed name of any kind -> key."""
    openmoji = folders["openmoji"]
    group = {key(code): name for name, rows in classes(openmoji).items() for code, _ in rows}
    wanted = {subgroup for subgroups in SUBGROUPS.values() for subgroup in subgroups} | set(OTHER)
    with open(openmoji / "data" / "openmoji.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["subgroups"] in wanted and not row["skintone"] and not row["group"].startswith("extras"):
                group.setdefault(key(row["hexcode"]), OTHER.get(row["subgroups"], ""))
    things, keys = {}, {}
    for entry in json.loads((folders["emojibase-data"] / "en" / "data.json").read_text()):
        if (emoji := key(entry["hexcode"])) in group:
            name = entry["label"].replace("’", "'").lower()
            things[emoji] = (name, [tag.lower() for tag in entry.get("tags", [])], group[emoji])
            keys[squeeze(name)] = emoji
    for entry in json.loads((folders["emoji-datasource-google"] / "emoji.json").read_text()):
        if (emoji := key(entry["unified"])) in things:
            for alias in [entry["name"] or "", *entry["short_names"]]:
                keys.setdefault(squeeze(alias), emoji)
    return list(things), things, keys


def sprites(folder: Path, vendor: str, wanted: set[str]) -> dict[str, list[bytes]]:
    """emoji-datasource's 64 pixel pictures: emoji key -> [PNG]."""
    paths = sorted((folder / "img" / vendor / "64").iterdir())
    return {key(path.stem): [path.read_bytes()] for path in paths if key(path.stem) in wanted}


def drawings(folder: Path, keys: dict[str, str]) -> dict[str, list[bytes]]:
    """An iconify set's drawings, matched by name (a trailing number or `-face` may differ): emoji key -> [PNG]."""
    found: dict[str, list[bytes]] = {}
    for name, svg in sorted(iconify(folder).items()):
        plain = re.sub(r"-\d+$", "", name)
        for form in (plain, re.sub(r"-face$", "", plain)):
            if emoji := keys.get(squeeze(form)):
                found.setdefault(emoji, []).append(svg)
                break
    return found


def pixels(data: bytes) -> np.ndarray:
    """Decode a PNG or draw an SVG; returns (64, 64, 4) uint8 RGBA, centred on a transparent square."""
    image = Image.open(io.BytesIO(data)).convert("RGBA") if data.startswith(b"\x89PNG") else render(data, 2 * SIZE)
    image.thumbnail((1024, 1024))
    side = max(image.size)
    page = Image.new("RGBA", (side, side))
    page.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return np.asarray(page.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.LANCZOS).convert("RGBA"))


def stamps(cache: Path) -> list[tuple[str, str, bytes]]:
    """Tux Paint's stamps that have an English caption and fit a class: [(caption, class word, PNG or SVG)]."""
    root = fetch_debian(*STAMPS, cache) / "usr" / "share" / "tuxpaint" / "stamps"
    found = []
    for path in sorted(root.rglob("*")):
        if path.suffix not in (".png", ".svg") or not path.with_suffix(".txt").exists():
            continue
        place = path.parent.relative_to(root).as_posix() + "/"
        prefixes = [prefix for prefix in FOLDERS if place.startswith(prefix + "/")]
        caption = path.with_suffix(".txt").read_text(errors="replace").splitlines()[0].split(".")[0].strip().lower()
        caption = re.sub(r"^(a|an|the|some)\s+", "", caption)
        if prefixes and caption and len(caption.split()) <= 5:
            found.append((caption, FOLDERS[max(prefixes, key=len)], path.read_bytes()))
    return found


def load(cache: Path, with_stamps: bool) -> Pictures:
    """Fetch, draw and store every picture (cache/pictures.npz; about 3 minutes the first time)."""
    folders = {name: fetch(name, *source, cache) for name, source in (EMOJI_PACKAGES | PACKAGES).items()
               if not name.endswith(("fluent-emoji-3d", "fluent-emoji-flat"))}  # fmt: skip
    order, things, keys = vocabulary(folders)
    position = {emoji: index for index, emoji in enumerate(order)}
    names, words, groups = (list(column) for column in zip(*things.values(), strict=True))
    sources: list[tuple[int, bytes]] = []
    for package in PACKAGES:
        if package.startswith("emoji-datasource"):
            found = sprites(folders[package], package.rsplit("-", 1)[1], set(things))
        elif package.startswith("@iconify"):
            found = drawings(folders[package], keys)
        else:
            continue
        print(f"{package}: {sum(map(len, found.values()))} pictures of {len(found)} emoji", flush=True)
        sources += [(position[emoji], data) for emoji, many in found.items() for data in many]
    if with_stamps:
        extra = stamps(cache)
        print(f"tuxpaint-stamps-default: {len(extra)} pictures", flush=True)
        for caption, group, data in extra:
            sources.append((len(names), data))
            names.append(caption)
            words.append([])
            groups.append(group)
    stored = cache / f"pictures-{len(sources)}.npy"
    if not stored.exists():
        with ThreadPoolExecutor(2) as pool:  # the work is in rsvg-convert
            drawn = np.stack(list(pool.map(pixels, (data for _, data in sources))))
        np.save(stored, drawn)
    return Pictures(np.load(stored), np.array([index for index, _ in sources]), names, words, groups)
