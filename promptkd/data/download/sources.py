"""The sources of the data sets: for each part, its files on disk and its sources in the order to try. Data only.

Addresses and checksums are those of the authors, of CoOp's DATASETS.md and of torchvision; md5 sums are torchvision's,
sha256 sums are of the mirror by PromptKD's author. Its other file names follow its pattern and were not verified.
Over 250 lines because it is one table of all data sets, read from top to bottom.
"""

from __future__ import annotations

from dataclasses import dataclass

MIRROR = "https://huggingface.co/zhengli97/prompt_learning_dataset/resolve/main"
DEVKITS = ("devkit/", "car_devkit/devkit/")
CSV = ("names.csv", "car_data/names.csv")  # of Stanford Cars in a folder per class
VGG = "https://www.robots.ox.ac.uk/~vgg/data"


@dataclass(frozen=True)
class Source:
    """One place to get a part from."""

    url: str  # http(s)://..., or gdrive:<id>
    to: str  # an archive: the folder under ROOT that it is unpacked into; else the file that it becomes
    md5: str = ""
    sha256: str = ""
    inner: str = ""  # an archive within the archive, to be unpacked into `to` in its place


@dataclass(frozen=True)
class Part:
    """A part of a data set: its images, its split, or a list."""

    present: tuple[str, ...]  # its files, as patterns from the data set's folder or from ROOT; (): the images
    sources: tuple[Source, ...] = ()  # in the order to try; none: it has to be fetched by hand
    note: str = ""  # terms, or how to get it by hand
    unless: str = ""  # a file that makes it unnecessary
    domain: str = ""  # the domain that it is of, where a data set's domains come one by one

    @property
    def holds_images(self) -> bool:
        """Whether it is images, and no list."""
        return not self.present or self.present[0].endswith("/*/*")


def _split(folder: str, name: str, drive: str) -> Part:
    file = f"{folder}/split_zhou_{name}.json"
    note = "the published split; the mirror's zip of the images holds it too"
    return Part((f"split_zhou_{name}.json",), (Source(f"gdrive:{drive}", file),), note)


def _mirror(file: str, folder: str, sha256: str = "") -> Source:
    return Source(f"{MIRROR}/{file}", folder, sha256=sha256)


def _classnames(folder: str) -> Part:
    drive = Source("gdrive:1-61f_ol79pViBFDG_IDlUQSwoLcn2XXF", f"{folder}/classnames.txt")
    return Part(
        ("classnames.txt", "imagenet/classnames.txt"), (drive,), "ImageNet's class names, lines of wnid and name"
    )


VISDA = "http://csr.bu.edu/ftp/visda"
_DOMAINNET = {"clipart": True, "infograph": False, "painting": True, "quickdraw": False, "real": False, "sketch": False}


def _domainnet(name: str, cleaned: bool) -> tuple[Part, ...]:
    """A domain's images and lists; of two domains there are cleaned ones, which the field uses."""
    images = f"{VISDA}/2019/multi-source/{'groundtruth/' if cleaned else ''}{name}.zip"
    lists = f"{VISDA}/2019/multi-source/{'groundtruth' if cleaned else 'domainnet'}/txt"
    note = "fair use; the page is http://ai.bu.edu/M3SDA"
    return (
        Part((f"{name}/*/*",), (Source(images, "domainnet"),), f"images of {name}; {note}", domain=name),
        *(
            Part(
                (f"splits/{name}_{part}.txt", f"{name}_{part}.txt"),
                (Source(f"{lists}/{name}_{part}.txt", f"domainnet/splits/{name}_{part}.txt"),),
                "a list",
                domain=name,
            )
            for part in ("train", "test")
        ),
    )


PARTS: dict[str, tuple[Part, ...]] = {
    "ImageNet": (
        Part(
            (),
            note="ILSVRC2012_img_train.tar (md5 1d675b47d978889d74fa0da5fadfb00e), ILSVRC2012_img_val.tar (md5 "
            "29b22e2961454d5413ddabcf34fc5622) and the devkit (md5 fa75699e90414af021442c21a62c3abf) from "
            "https://image-net.org after registration, research only; into imagenet/images/train/<wnid>/ and "
            "imagenet/images/val/ (flat is fine, with the devkit beside)",
        ),
        _classnames("imagenet"),
    ),
    "Caltech101": (
        Part(
            (),
            (
                Source(
                    "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
                    "caltech-101",
                    md5="3138e1922a9193bfa496528edbbc45d0",
                    inner="caltech-101/101_ObjectCategories.tar.gz",
                ),
                _mirror("caltech-101.zip", "caltech-101"),
            ),
            "CC BY 4.0; a copy is koorye/Caltech-101 on Hugging Face",
        ),
        _split("caltech-101", "Caltech101", "1hyarUivQE36mY6jSomru6Fjd-JzwcCzN"),
    ),
    "OxfordPets": (
        Part(
            (),
            (
                Source(f"{VGG}/pets/data/images.tar.gz", "oxford_pets", md5="5c4f3ee8e5d25df40f4fd59a7f44e54c"),
                _mirror("oxford_pets.zip", "oxford_pets"),
            ),
        ),
        Part(
            ("annotations/test.txt",),
            (Source(f"{VGG}/pets/data/annotations.tar.gz", "oxford_pets", md5="95a8c909bbe2e81eed6a22bccdf3f68f"),),
        ),
        _split("oxford_pets", "OxfordPets", "1501r8Ber4nNKvmlFVQZ8SeUHTcdTTEqs"),
    ),
    "StanfordCars": (
        Part(
            (),
            (_mirror("stanford_cars.zip", "stanford_cars"),),
            "the original site is gone; else Kaggle (stanford-cars-dataset) into stanford_cars/, the copy of "
            "koorye/Stanford-Cars on Hugging Face, or the release 'datasets' of https://github.com/zhengli97/PromptKD",
        ),
        _split("stanford_cars", "StanfordCars", "1ObCFbaAgVu0I-k_Au-gIUcefirdAuizT"),
        Part(
            (*(f"{d}cars_train_annos.mat" for d in (*DEVKITS, "")), *CSV),
            note="the devkit with cars_meta.mat (of car_data/: names.csv), into stanford_cars/devkit/, as the mirror's "
            "zip has it; needed only without the published split. Kaggle's cars_annos.mat numbers other files",
            unless="split_zhou_StanfordCars.json",
        ),
        Part(
            ("cars_test_annos_withlabels*.mat", *(f"{d}cars_test_annos_withlabels*.mat" for d in DEVKITS), *CSV),
            note="the classes of the test images, into stanford_cars/; needed only without the published split",
            unless="split_zhou_StanfordCars.json",
        ),
    ),
    "OxfordFlowers": (
        Part(
            (),
            (
                Source(f"{VGG}/flowers/102/102flowers.tgz", "oxford_flowers", md5="52808999861908f626f3c1f4e79d11fa"),
                _mirror("oxford_flowers.zip", "oxford_flowers"),
            ),
        ),
        Part(
            ("imagelabels.mat",),
            (
                Source(
                    f"{VGG}/flowers/102/imagelabels.mat",
                    "oxford_flowers/imagelabels.mat",
                    md5="e0620be6f572b9609742df49c70aed4d",
                ),
            ),
        ),
        Part(
            ("cat_to_name.json",),
            (Source("gdrive:1AkcxCXeK_RCGCEC_GvmWxjcjaNhu-at0", "oxford_flowers/cat_to_name.json"),),
            "class names",
        ),
        _split("oxford_flowers", "OxfordFlowers", "1Pp0sRXzZFZq15zVOzKjKBu4A9i01nozT"),
    ),
    "Food101": (
        Part(
            (),
            (
                Source(
                    "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz", ".", md5="85eeb15f3717b99a5da872d97d918f87"
                ),
                _mirror("food101.zip", "food-101"),
            ),
            "5 GB; its terms are in license_agreement.txt",
        ),
        _split("food-101", "Food101", "1QK0tGi096I0Ba6kggatX1ee6dJFIcEJl"),
    ),
    "FGVCAircraft": (
        Part(
            (),
            (
                Source(f"{VGG}/fgvc-aircraft/archives/fgvc-aircraft-2013b.tar.gz", "."),
                _mirror("fgvc_aircraft.zip", "fgvc_aircraft"),
            ),
            "2.75 GB; non-commercial research",
        ),
    ),
    "SUN397": (
        Part(
            (),
            (
                Source(
                    "http://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz",
                    "sun397",
                    md5="8ca2778205c41d23104230ba66911c7a",
                ),
                _mirror("sun397.zip", "sun397", "ce6dee6685c9f1d592c8297e193dde885aa9c50d008fd998a38ccc57a3dda722"),
            ),
            "39 GB",
        ),
        Part(
            ("Training_01.txt", "Partitions/Training_01.txt"),
            (Source("https://vision.princeton.edu/projects/2010/SUN/download/Partitions.zip", "sun397"),),
            "not needed beside the published split",
            "split_zhou_SUN397.json",
        ),
        _split("sun397", "SUN397", "1y2RD81BYuiyvebdN-JymPfyWYcd8_MUq"),
    ),
    "DescribableTextures": (
        Part(
            (),
            (
                Source(f"{VGG}/dtd/download/dtd-r1.0.1.tar.gz", ".", md5="fff73e5086ae6bdbea199a49dfb8a4c1"),
                _mirror("dtd.zip", "dtd", "5ba4d3000e60f5541ba15a082033ca0696eee68125e9c28edff3dbe22f04313b"),
            ),
            "626 MB",
        ),
        _split("dtd", "DescribableTextures", "1u3_QfB467jqHgNXC00UIzbLZRQCg2S7x"),
    ),
    "EuroSAT": (
        Part(
            (),
            (
                Source(
                    "https://madm.dfki.de/files/sentinel/EuroSAT.zip", "eurosat", md5="c8fa014336c82ac7804f0398fcb19387"
                ),
                Source(
                    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                    "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                    "eurosat",
                    md5="c8fa014336c82ac7804f0398fcb19387",
                ),
                _mirror("eurosat.zip", "eurosat"),
            ),
            "94 MB, MIT",
        ),
        _split("eurosat", "EuroSAT", "1Ip7yaCWFi0eaOFUGga0lUdVi_DDQth1o"),
    ),
    "UCF101": (
        Part(
            (),
            (Source("gdrive:10Jqome3vtUA2keJkNanAiFpgbyC9Hc2O", "ucf101"), _mirror("ucf101.zip", "ucf101")),
            "one frame of each video; the videos themselves are of no use here",
        ),
        _split("ucf101", "UCF101", "1I0S0q91hJfsV9Gf4xDIjgDq4AqBNJb1y"),
        Part(
            ("ucfTrainTestlist/trainlist01.txt", "trainlist01.txt"),
            note="the folder ucfTrainTestlist of UCF101TrainTestSplits-RecognitionTask.zip, from "
            "https://www.crcv.ucf.edu/data/UCF101.php, into ucf101/; needed only without the published split",
            unless="split_zhou_UCF101.json",
        ),
    ),
    "ImageNetV2": (
        Part(
            (),
            (
                Source(
                    "https://s3-us-west-2.amazonaws.com/imagenetv2public/imagenetv2-matched-frequency.tar.gz",
                    "imagenetv2",
                ),
                Source(
                    "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/imagenetv2-matched-frequency.tar.gz",
                    "imagenetv2",
                ),
                _mirror("imagenetv2.zip", "imagenetv2"),
            ),
            "1.26 GB, MIT; a copy is koorye/ImageNet-V2 on Hugging Face",
        ),
        _classnames("imagenetv2"),
    ),
    "ImageNetSketch": (
        Part(
            (),
            (
                _mirror(
                    "imagenet-sketch.zip",
                    "imagenet-sketch",
                    "8f93bc6064cf9d984a64b46925b7f53ab573224ca1c38a404d767b3565e3863f",
                ),
            ),
            "7.6 GB; also at https://github.com/HaohanWang/ImageNet-Sketch",
        ),
        _classnames("imagenet-sketch"),
    ),
    "ImageNetA": (
        Part(
            (),
            (
                Source("https://people.eecs.berkeley.edu/~hendrycks/imagenet-a.tar", "imagenet-adversarial"),
                _mirror("imagenet-adversarial.zip", "imagenet-adversarial"),
            ),
            "684 MB; https://github.com/hendrycks/natural-adv-examples",
        ),
        _classnames("imagenet-adversarial"),
    ),
    "ImageNetR": (
        Part(
            (),
            (
                Source("https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar", "imagenet-rendition"),
                _mirror("imagenet-rendition.zip", "imagenet-rendition"),
            ),
            "2.1 GB; https://github.com/hendrycks/imagenet-r; a copy is koorye/ImageNet-Rendition on Hugging Face",
        ),
        _classnames("imagenet-rendition"),
    ),
    "Office31": (
        Part(
            (),
            (Source("gdrive:0B4IapRTv9pJ1WGZVd1VDMmhwdlE", "office31"),),
            "domain_adaptation_images.tar.gz, from https://people.eecs.berkeley.edu/~jhoffman/domainadapt; its folders "
            "<domain>/images/<class> are fine",
        ),
    ),
    "OfficeHome": (
        Part(
            (),
            (
                Source("gdrive:0B81rNlvomiwed0V1YUxQdC1uOTg", "office_home"),
                Source("gdrive:1uY0pj7oFsjMxRwaD3Sxy0jgel0fsYXLC", "office_home"),
            ),
            "OfficeHomeDataset_10072016.zip, from https://www.hemanthdv.org/officeHomeDataset.html, or DomainBed's "
            "copy; fair use, no commercial use",
        ),
    ),
    "VisDA17": tuple(
        Part((f"{part}/*/*",), (Source(f"{VISDA}17/clf/{part}.tar", "visda17"),), note, domain=domain)
        for part, domain, note in (
            ("validation", "real", "55,388 photographs; research only"),
            ("train", "synthetic", "152,397 renderings; research only"),
        )
    ),
    "DomainNet": tuple(part for name, cleaned in _DOMAINNET.items() for part in _domainnet(name, cleaned)),
}
