"""Build datasets/emoji.zip, the bundled data set `Emoji`: 20 classes of emoji, three free designs, 64x64 RGB on white.

    python assets/make_emoji.py [--cache DIR] [--out datasets/emoji.zip]
    python assets/make_emoji.py --others [--cache DIR] [--out datasets/emoji_others.zip]

Needs npm (the packages below are fetched with `npm pack` and checked by sha256), rsvg-convert (Debian: librsvg2-bin)
and Pillow. The designs are Fluent 3D and Fluent Flat (Microsoft, MIT) and OpenMoji (CC BY-SA 4.0). The bundled CLIP
pair has seen none of them: assets/train_mini.py trains on other designs.

A class is a Unicode subgroup (OpenMoji's table of Unicode 17 names them) without the members in DROP, which show
something else, such as the fuel pump among the ground vehicles. `prepared food` joins food-prepared and food-asian; its
sweets are dropped, as they would belong to two classes. `building` joins place-building and place-religious.

The split is 50/20/30 per class by emoji, from a seeded shuffle, so that all designs of one emoji are in one part. The
archive is reproducible: fixed times, sorted names, and PNGs that depend on the Pillow and librsvg versions alone.
Runs in about a minute.

With --others it builds pictures of none of the 20 classes instead, of the same three designs: faces, hearts and
weather, for pools of images without labels that hold foreign ones (POOL.FOREIGN_SHARE).
"""

import argparse
import csv
import hashlib
import io
import json
import random
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

SIZE = 64  # pixels, both sides
SEED = 1
PACKAGES = {  # npm name: (version, sha256 of the packed file)
    "openmoji": ("17.0.0", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"),
    "@lobehub/fluent-emoji-3d": ("1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"),
    "@iconify-json/fluent-emoji-flat": ("1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"),
}
SUBGROUPS = {
    "mammal": ["animal-mammal"],
    "bird": ["animal-bird"],
    "marine animal": ["animal-marine"],
    "bug": ["animal-bug"],
    "flower": ["plant-flower"],
    "plant": ["plant-other"],
    "fruit": ["food-fruit"],
    "vegetable": ["food-vegetable"],
    "prepared food": ["food-prepared", "food-asian"],
    "sweet food": ["food-sweet"],
    "drink": ["drink"],
    "ground vehicle": ["transport-ground"],
    "aircraft": ["transport-air"],
    "boat": ["transport-water"],
    "building": ["place-building", "place-religious"],
    "clothing": ["clothing"],
    "sport": ["sport"],
    "musical instrument": ["musical-instrument"],
    "tool": ["tool"],
    "computer": ["computer"],
}
DROP = {  # members of those subgroups that do not show the class
    "mammal": "paw prints; pig nose",
    "bird": "feather; wing",
    "bug": "spider web; microbe",
    "plant": "empty nest; nest with eggs",
    "prepared food": "moon cake; dango; fortune cookie; salt",
    "drink": "ice",
    "ground vehicle": "station; skateboard; roller skate; bus stop; motorway; railway track; oil drum; fuel pump; "
    "wheel; police car light; horizontal traffic light; vertical traffic light; stop sign; construction",
    "aircraft": "seat; suspension railway; mountain cableway; aerial tramway; satellite",
    "boat": "anchor; ring buoy",
    "building": "building construction; brick; rock; wood; wedding; Statue of Liberty",
    "clothing": "folding hand fan; shopping bags; hair pick; prayer beads; lipstick; gem stone",
}
OTHERS = {"face": ["face-smiling", "face-concerned"], "heart": ["heart"], "weather": ["sky-weather"]}
ATTRIBUTION = """# Sources of the Emoji data set

Every image was scaled to 64x64 pixels on white by assets/make_emoji.py; nothing else was changed.

| files | design | made by | licence | npm package |
|---|---|---|---|---|
| `*-fluent3d.png` | Fluent Emoji, 3D | Microsoft Corporation, https://github.com/microsoft/fluentui-emoji | MIT | @lobehub/fluent-emoji-3d 1.1.0 |
| `*-fluentflat.png` | Fluent Emoji, flat | Microsoft Corporation, https://github.com/microsoft/fluentui-emoji | MIT | @iconify-json/fluent-emoji-flat 1.2.6 |
| `*-openmoji.png` | OpenMoji | the OpenMoji project (HfG Schwaebisch Gmuend), https://openmoji.org | CC BY-SA 4.0 | openmoji 17.0.0 |

All emojis designed by OpenMoji - the open-source emoji and icon project. License: CC BY-SA 4.0. The scaled OpenMoji images
are offered under CC BY-SA 4.0 too (https://creativecommons.org/licenses/by-sa/4.0/); the others stay under MIT.
"""  # noqa: E501
FLUENT_LICENSE = """MIT License

Copyright (c) Microsoft Corporation.

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE
"""


def fetch(name: str, version: str, digest: str, cache: Path) -> Path:
    """Pack an npm package into `cache`, unpack it beside, and return the folder of its files.

    Raises ValueError where the packed file's sha256 is not `digest`.
    """
    stem = f"{name.lstrip('@').replace('/', '-')}-{version}"
    packed = cache / f"{stem}.tgz"
    if not packed.exists():
        subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=cache, check=True)
    found = hashlib.sha256(packed.read_bytes()).hexdigest()
    if found != digest:
        raise ValueError(f"{packed}: sha256 is {found}, not {digest}; delete it to fetch it again")
    folder = cache / "unpacked" / stem
    if not folder.exists():
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
    return folder / "package"


def fetch_debian(file: str, digest: str, cache: Path) -> Path:
    """Download a Debian package into `cache`, unpack it beside, and return the folder of its files.

    Raises ValueError where the release at hand has another version, or the file's sha256 is not `digest`.
    """
    packed, folder = cache / file, cache / "unpacked" / file.removesuffix(".deb")
    if not packed.exists():
        subprocess.run(["apt-get", "download", file.split("_")[0]], cwd=cache, check=True)
    if not packed.exists():
        raise ValueError(f"{packed}: apt-get has another version of it; fetch this one from snapshot.debian.org")
    found = hashlib.sha256(packed.read_bytes()).hexdigest()
    if found != digest:
        raise ValueError(f"{packed}: sha256 is {found}, not {digest}; delete it to fetch it again")
    if not folder.exists():
        subprocess.run(["dpkg", "-x", str(packed), str(folder)], check=True)
    return folder


def key(hexcode: str) -> str:
    """Lower-case hex code points joined by '-', without the variation selector FE0F, which sets treat differently."""
    return "-".join(point for point in hexcode.lower().split("-") if point != "fe0f")


def render(svg: bytes, size: int = SIZE) -> Image.Image:
    """Draw an SVG with rsvg-convert; returns RGBA, size x size at most, the drawing's shape kept."""
    command = ["rsvg-convert", "-w", str(size), "-h", str(size), "-a", "-f", "png"]
    drawn = subprocess.run(command, input=svg, capture_output=True, check=True).stdout
    return Image.open(io.BytesIO(drawn)).convert("RGBA")


def iconify(folder: Path) -> dict[str, bytes]:
    """Read an @iconify-json package: icon name -> SVG document."""
    pack = json.loads((folder / "icons.json").read_text())
    wide, high = pack.get("width", 16), pack.get("height", 16)
    drawings = {}
    for name, icon in pack["icons"].items():
        left, top, w, h = (icon.get(k, d) for k, d in (("left", 0), ("top", 0), ("width", wide), ("height", high)))
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        drawings[name] = f'<svg {spaces} viewBox="{left} {top} {w} {h}">{icon["body"]}</svg>'.encode()
    return drawings


def on_white(image: Image.Image) -> Image.Image:
    """Scale an RGBA image to SIZE x SIZE and put it on white (premultiplied, so that no edge darkens)."""
    image = image.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.LANCZOS).convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image).convert("RGB")


def classes(
    openmoji: Path, subgroups_of: Mapping[str, list[str]] = SUBGROUPS, dropped: Mapping[str, str] = DROP
) -> dict[str, list[tuple[str, str]]]:
    """Class name -> [(code points as OpenMoji writes them, Unicode name)], in Unicode order.

    Args:
        openmoji: the unpacked package.
        subgroups_of: class name -> the Unicode subgroups that it joins.
        dropped: class name -> members that do not show it, as "name; name".
    """
    with open(openmoji / "data" / "openmoji.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["skintone"] and not row["group"].startswith("extras")]
    members = {}
    for name, subgroups in subgroups_of.items():
        found = [(row["hexcode"], row["annotation"]) for row in rows if row["subgroups"] in subgroups]
        drop = set(dropped.get(name, "").split("; ")) - {""}
        if missing := drop - {annotation for _, annotation in found}:
            raise ValueError(f"{name}: no such emoji to drop: {sorted(missing)}")
        members[name] = [(code, annotation) for code, annotation in found if annotation not in drop]
    return members


def draw(
    members: dict[str, list[tuple[str, str]]], folders: dict[str, Path]
) -> dict[str, dict[str, list[tuple[str, Image.Image]]]]:
    """Class name -> emoji key -> [(design, 64x64 RGB image)], every design that has the emoji."""
    fluent3d = {key(path.stem): path for path in (folders["@lobehub/fluent-emoji-3d"] / "assets").iterdir()}
    flat_folder = folders["@iconify-json/fluent-emoji-flat"]
    flat = iconify(flat_folder)
    flat_names = {key(code): name for code, name in json.loads((flat_folder / "chars.json").read_text()).items()}
    images: dict[str, dict[str, list[tuple[str, Image.Image]]]] = {}
    for classname, emojis in members.items():
        for code, _ in emojis:
            emoji = key(code)
            designs = []
            if emoji in fluent3d:
                designs.append(("fluent3d", on_white(Image.open(fluent3d[emoji]).convert("RGBA"))))
            if emoji in flat_names:
                designs.append(("fluentflat", on_white(render(flat[flat_names[emoji]], 4 * SIZE))))
            svg = folders["openmoji"] / "color" / "svg" / f"{code}.svg"
            designs.append(("openmoji", on_white(render(svg.read_bytes(), 4 * SIZE))))
            images.setdefault(classname, {})[emoji] = designs
    return images


def split(emojis: list[str], classname: str) -> dict[str, list[str]]:
    """50/20/30 of one class's emoji, shuffled by a seed that names the class; part -> sorted emoji."""
    emojis = sorted(emojis)
    random.Random(f"{SEED} {classname}").shuffle(emojis)
    return share_out(emojis)


def share_out(emojis: list[str]) -> dict[str, list[str]]:
    """The first half for training, the next fifth for validation, the others for the test; part -> sorted emoji."""
    train, val = round(0.5 * len(emojis)), round(0.2 * len(emojis))
    parts = {"train": emojis[:train], "val": emojis[train : train + val], "test": emojis[train + val :]}
    return {part: sorted(members) for part, members in parts.items()}


def png(image: Image.Image) -> bytes:
    """An optimised PNG; 255 colours where that changes no channel by more than 8 of 255, else 24 bits."""
    small = image.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    back = small.convert("RGB").tobytes()
    exact = max(abs(a - b) for a, b in zip(back, image.tobytes(), strict=True)) <= 8
    buffer = io.BytesIO()
    (small if exact else image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def with_licences(files: dict[str, bytes], folder: str, openmoji: Path) -> dict[str, bytes]:
    """The files of an archive, and the attribution and licence texts that belong to them."""
    return files | {
        f"{folder}/ATTRIBUTION.md": ATTRIBUTION.encode(),
        f"{folder}/LICENSES/FluentEmoji-MIT.txt": FLUENT_LICENSE.encode(),
        f"{folder}/LICENSES/OpenMoji-CC-BY-SA-4.0.txt": (openmoji / "LICENSE.txt").read_bytes(),
    }


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Write a zip file whose bytes follow from its members alone; print its size and sha256."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, date_time=(2026, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, files[name])
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, sha256", hashlib.sha256(path.read_bytes()).hexdigest())


def write_others(path: Path, folders: dict[str, Path]) -> None:
    """Write the archive of pictures of none of the classes."""
    files = {}
    for name, emojis in draw(classes(folders["openmoji"], OTHERS), folders).items():
        for emoji, designs in emojis.items():
            files |= {f"emoji_others/images/{name}/{emoji}-{design}.png": png(image) for design, image in designs}
        print(f"{name:20s} {len(emojis):3d} emoji")
    write_archive(path, with_licences(files, "emoji_others", folders["openmoji"]))


def main() -> None:
    """Write an archive and print its counts, size and sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "promptkd-emoji")
    parser.add_argument("--others", action="store_true", help="pictures of none of the classes")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    folders = {name: fetch(name, *source, args.cache) for name, source in PACKAGES.items()}
    place = Path(__file__).resolve().parent.parent / "datasets"
    if args.others:
        write_others(args.out or place / "emoji_others.zip", folders)
        return
    out = args.out or place / "emoji.zip"
    images = draw(classes(folders["openmoji"]), folders)

    files: dict[str, bytes] = {}
    entries: dict[str, list[list[object]]] = {"train": [], "val": [], "test": []}
    for label, classname in enumerate(sorted(images)):
        for part, emojis in split(list(images[classname]), classname).items():
            for emoji in emojis:
                for design, image in images[classname][emoji]:
                    path = f"{classname.replace(' ', '_')}/{emoji}-{design}.png"
                    files[f"emoji/images/{path}"] = png(image)
                    entries[part].append([path, label, classname])
    files["emoji/split_zhou_Emoji.json"] = json.dumps(entries).encode()

    notice = f"{ATTRIBUTION}\nThe licence texts are in emoji.zip and emoji_others.zip, in `LICENSES/`.\n"
    (out.parent / "EMOJI_LICENSES.md").write_text(notice)
    for classname in sorted(images):
        parts = {part: sum(entry[2] == classname for entry in rows) for part, rows in entries.items()}
        print(f"{classname:20s} {len(images[classname]):3d} emoji  {parts}")
    print({part: len(rows) for part, rows in entries.items()})
    write_archive(out, with_licences(files, "emoji", folders["openmoji"]))


if __name__ == "__main__":
    main()
