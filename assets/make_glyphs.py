"""Build datasets/glyphs.zip, the bundled data set `Glyphs`: 20 classes of things in one colour, 64x64 RGB on white.

    python assets/make_glyphs.py [--cache DIR] [--out datasets/glyphs.zip]

Needs what assets/make_emoji.py needs, and apt-get and dpkg of Debian 12 for two fonts. It is a second task beside
Emoji: none of its classes, none of its emoji, and another style. Four free designs: outlines (OpenMoji's black set),
silhouettes (Fluent High Contrast), a font of symbols (Symbola) and a font of 16x16 pixels (GNU Unifont). The bundled
CLIP pair has seen none of the four, nor a coloured form of them; it has learned these classes' words, on coloured
drawings of other designs, as it has Emoji's (OTHER in assets/mini_pictures.py).

A class is a Unicode subgroup (OpenMoji's table names them) without the members in DROP, which show something else.
In one colour some emoji are one picture (green book, blue book), so that an emoji is no object here: emoji of a class
that look alike in a design (LIKE) are one, and of pictures that are nearly the same (SAME) one stays. The split is
50/20/30 per class by object, in the order of a hash of its first emoji. Runs in about a minute.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from make_emoji import (
    FLUENT_LICENSE,
    SIZE,
    classes,
    fetch,
    fetch_debian,
    iconify,
    key,
    on_white,
    png,
    render,
    share_out,
    write_archive,
)
from make_emoji import PACKAGES as EMOJI_PACKAGES
from PIL import Image, ImageDraw, ImageFont

PACKAGES = {  # npm name: (version, sha256 of the packed file)
    "openmoji": EMOJI_PACKAGES["openmoji"],
    "@iconify-json/fluent-emoji-high-contrast": (
        "1.2.6", "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0",
    ),
}  # fmt: skip
FONTS = {  # design: (file of the Debian package, its sha256, the font in it, pixels of its em)
    "symbola": (
        "fonts-symbola_2.60-1.1_all.deb", "408244997437d4103e9cdc9dd75db29d0e5fbee6e6874536173995204033a6df",
        "usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf", 224,
    ),
    "unifont": (
        "fonts-unifont_1%3a15.0.01-2_all.deb", "cd46245f1b228d1277ed2b453ce893fde1cf4bf4ec317e82b0079395bdc9c2b5",
        "usr/share/fonts/opentype/unifont/unifont{}.otf", 64,
    ),
}  # fmt: skip
SUBGROUPS = {
    "book": ["book-paper"],
    "decoration": ["event"],
    "dishes": ["dishware"],
    "film and video": ["light-video"],
    "game": ["game"],
    "household object": ["household"],
    "lamp": ["light-video"],
    "lock and key": ["lock"],
    "mail": ["mail"],
    "medicine": ["medical"],
    "money": ["money"],
    "music": ["music"],
    "moon and stars": ["sky-weather"],
    "office supply": ["office"],
    "pen": ["writing"],
    "phone": ["phone"],
    "place": ["place-geographic", "place-other"],
    "reptile": ["animal-reptile"],
    "scientific instrument": ["science"],
    "weather": ["sky-weather"],
}
FILM = (
    "movie camera; film frames; film projector; clapper board; television; camera; camera with flash; video camera; "
    "videocassette"
)
LENSES = "magnifying glass tilted left; magnifying glass tilted right"
LIGHTS = "candle; light bulb; flashlight; red paper lantern; diya lamp"
NIGHT = (
    "new moon; waxing crescent moon; first quarter moon; waxing gibbous moon; full moon; waning gibbous moon; "
    "last quarter moon; waning crescent moon; crescent moon; new moon face; first quarter moon face; "
    "last quarter moon face; full moon face; ringed planet; star; glowing star; shooting star; milky way; comet"
)
DAY = (
    "thermometer; sun; sun with face; cloud; sun behind cloud; cloud with lightning and rain; sun behind small cloud; "
    "sun behind large cloud; sun behind rain cloud; cloud with rain; cloud with snow; cloud with lightning; tornado; "
    "fog; wind face; cyclone; rainbow; closed umbrella; umbrella; umbrella with rain drops; umbrella on ground; "
    "high voltage; snowflake; snowman; snowman without snow"
)
DROP = {  # members of those subgroups that do not show the class
    "decoration": "moon viewing ceremony; admission tickets; ticket",
    "film and video": f"{LIGHTS}; {LENSES}",
    "household object": "elevator; lotion bottle; bubbles; fire extinguisher; shopping cart",
    "lamp": f"{FILM}; {LENSES}",
    "mail": "package; ballot box with ballot",
    "medicine": "drop of blood",
    "money": "chart increasing with yen",
    "music": "level slider; control knobs",
    "office supply": "briefcase; wastebasket",
    "place": "foggy; night with stars; carousel horse; barber pole",
    "scientific instrument": "dna",
    "moon and stars": f"{DAY}; fire; droplet; water wave",
    "weather": f"{NIGHT}; fire; droplet; water wave",
}
LIKE, SAME = 0.06, 0.03  # mean difference of two pictures, of the range from black to white
ATTRIBUTION = """# Sources of the Glyphs data set

Every image was drawn in 64x64 pixels on white by assets/make_glyphs.py; nothing else was changed.

| files | design | made by | licence | package |
|---|---|---|---|---|
| `*-openmoji.png` | OpenMoji, black | the OpenMoji project (HfG Schwaebisch Gmuend), https://openmoji.org | CC BY-SA 4.0 | npm: openmoji 17.0.0 |
| `*-fluent.png` | Fluent Emoji, high contrast | Microsoft Corporation, https://github.com/microsoft/fluentui-emoji | MIT | npm: @iconify-json/fluent-emoji-high-contrast 1.2.6 |
| `*-symbola.png` | Symbola 9.17 | George Douros | "Fonts in this site are free for any use"; Debian: "they may be opened, edited, modified, regenerated, packaged and redistributed" | Debian: fonts-symbola 2.60-1.1 |
| `*-unifont.png` | GNU Unifont, Unifont Upper 15.0.01 | Roman Czyborra, Paul Hardy, Qianqian Fang, Andrew Miller, Johnnie Weaver, David Corbett, Nils Moskopp, Rebecca Bettencourt, et al., https://unifoundry.com/unifont/ | SIL OFL 1.1, or GPL 2 or later with the GNU font embedding exception | Debian: fonts-unifont 1:15.0.01-2 |

All emojis designed by OpenMoji - the open-source emoji and icon project. License: CC BY-SA 4.0. The OpenMoji images are
offered under CC BY-SA 4.0 too (https://creativecommons.org/licenses/by-sa/4.0/), those of Unifont under the OFL 1.1
(https://openfontlicense.org); the others stay under the terms in the table. What emoji are called and how they are
grouped comes from OpenMoji's table of Unicode 17.
"""  # noqa: E501


def glyph(character: str, fonts: list[ImageFont.FreeTypeFont]) -> Image.Image | None:
    """A character of the first font that has it, centred in a square with a small margin; None where none has it."""
    for font in fonts:
        mask = font.getmask(character)
        if mask.size[0] and bytes(mask) != bytes(font.getmask("\U0010fffd")):  # else the box for what is missing
            image = Image.frombytes("L", mask.size, bytes(mask))
            side = round(max(image.size) * 1.1)
            page = Image.new("L", (side, side))
            page.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            black = Image.new("RGBA", page.size)
            black.putalpha(page)
            return black
    return None


def draw(
    members: Mapping[str, list[tuple[str, str]]], folders: Mapping[str, Path], cache: Path
) -> dict[str, dict[str, dict[str, Image.Image]]]:
    """Class name -> emoji key -> design -> 64x64 RGB image, of every design that has the emoji."""
    fluent = folders["@iconify-json/fluent-emoji-high-contrast"]
    drawings = iconify(fluent)
    names = {key(code): name for code, name in json.loads((fluent / "chars.json").read_text()).items()}
    fonts = {}
    for design, (file, digest, path, size) in FONTS.items():
        root = fetch_debian(file, digest, cache)
        paths = dict.fromkeys(root / path.format(part) for part in ("_upper", ""))
        fonts[design] = [ImageFont.truetype(str(one), size) for one in paths]
    images: dict[str, dict[str, dict[str, Image.Image]]] = {}
    for classname, emojis in members.items():
        for code, _ in emojis:
            emoji = key(code)
            designs = images.setdefault(classname, {}).setdefault(emoji, {})
            line = (folders["openmoji"] / "black" / "svg" / f"{code}.svg").read_bytes()
            designs["openmoji"] = on_white(render(line, 4 * SIZE))
            if emoji in names:
                designs["fluent"] = on_white(render(drawings[names[emoji]], 4 * SIZE))
            for design, many in fonts.items() if "-" not in emoji else ():
                if (image := glyph(chr(int(emoji, 16)), many)) is not None:
                    designs[design] = on_white(image)
    return images


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures in grey, of the range from black to white: 0 to 1."""
    first, second = (np.asarray(image.convert("L"), dtype=np.float32) for image in (one, other))
    return float(np.abs(first - second).mean()) / 255


def objects(emojis: Mapping[str, Mapping[str, Image.Image]]) -> list[list[str]]:
    """The emoji of a class in groups: two that look alike in any design are in one, and so are those between them."""
    groups: list[list[str]] = []
    for emoji, designs in sorted(emojis.items()):
        near = [
            group for group in groups
            if any(
                design in designs and difference(image, designs[design]) < LIKE
                for other in group for design, image in emojis[other].items()
            )
        ]  # fmt: skip
        groups = [group for group in groups if group not in near] + [sorted([emoji, *(one for g in near for one in g)])]
    return groups


def split(emojis: Mapping[str, Mapping[str, Image.Image]]) -> dict[str, list[str]]:
    """50/20/30 of a class's objects; part -> sorted emoji."""
    groups = {group[0]: group for group in objects(emojis)}
    order = sorted(groups, key=lambda first: hashlib.md5(first.encode()).hexdigest())
    return {part: sorted(one for first in firsts for one in groups[first]) for part, firsts in share_out(order).items()}


def pictures(emojis: list[str], images: Mapping[str, Mapping[str, Image.Image]]) -> dict[str, Image.Image]:
    """Name -> picture of the emoji of one part, without those that are nearly the same as an earlier one."""
    kept: dict[str, Image.Image] = {}
    for emoji in emojis:
        for design, image in images[emoji].items():
            if all(difference(image, other) >= SAME for other in kept.values()):
                kept[f"{emoji}-{design}"] = image
    return kept


def sheet(rows: Mapping[str, Mapping[str, Image.Image]], path: Path) -> None:
    """Writes a page with a class a row, to look at."""
    wide = max(map(len, rows.values()))
    page = Image.new("RGB", (150 + wide * (SIZE + 4), len(rows) * (SIZE + 4)), "white")
    for row, (classname, many) in enumerate(rows.items()):
        ImageDraw.Draw(page).text((4, row * (SIZE + 4) + 24), classname, fill="black")
        for column, image in enumerate(many.values()):
            page.paste(image, (150 + column * (SIZE + 4), row * (SIZE + 4)))
    page.save(path)


def main() -> None:
    """Write the archive and print its counts, size and sha256."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "promptkd-emoji")
    parser.add_argument("--sheet", type=Path, help="also write a page with every training picture")
    place = Path(__file__).resolve().parent.parent / "datasets"
    parser.add_argument("--out", type=Path, default=place / "glyphs.zip")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    folders = {name: fetch(name, *source, args.cache) for name, source in PACKAGES.items()}
    images = draw(classes(folders["openmoji"], SUBGROUPS, DROP), folders, args.cache)

    files: dict[str, bytes] = {}
    entries: dict[str, list[list[object]]] = {"train": [], "val": [], "test": []}
    training = {}
    for label, classname in enumerate(sorted(images)):
        parts = {part: pictures(emojis, images[classname]) for part, emojis in split(images[classname]).items()}
        for part, many in parts.items():
            for name, image in many.items():
                path = f"{classname.replace(' ', '_')}/{name}.png"
                files[f"glyphs/images/{path}"] = png(image)
                entries[part].append([path, label, classname])
        training[classname] = parts["train"]
        counts = {part: len(many) for part, many in parts.items()}
        print(
            f"{classname:22s} {len(images[classname]):3d} emoji {len(objects(images[classname])):3d} objects {counts}"
        )
    print({part: len(rows) for part, rows in entries.items()})
    files["glyphs/split_zhou_Glyphs.json"] = json.dumps(entries).encode()
    files["glyphs/ATTRIBUTION.md"] = ATTRIBUTION.encode()
    files["glyphs/LICENSES/FluentEmoji-MIT.txt"] = FLUENT_LICENSE.encode()
    files["glyphs/LICENSES/OpenMoji-CC-BY-SA-4.0.txt"] = (folders["openmoji"] / "LICENSE.txt").read_bytes()
    files["glyphs/LICENSES/Unifont-OFL-1.1.txt"] = Path(__file__).with_name("OFL-1.1.txt").read_bytes()
    notice = "The licence texts are in glyphs.zip, in `LICENSES/`; Symbola has none but what the table says."
    args.out.with_name("GLYPHS_LICENSES.md").write_text(f"{ATTRIBUTION}\n{notice}\n")
    write_archive(args.out, files)
    if args.sheet:
        sheet(training, args.sheet)


if __name__ == "__main__":
    main()
