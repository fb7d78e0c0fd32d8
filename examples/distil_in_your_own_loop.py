"""Distils a teacher into a student in an ordinary PyTorch loop: no trainer, no configuration, no labels.

    python examples/distil_in_your_own_loop.py [--data data] [--epochs 8] [--output student]

It needs `pip install .`, or PYTHONPATH=. in a checkout; half a minute on a CPU. Teacher and student are the bundled
small CLIPs, the images are those of the bundled data set Emoji. With your own: any CLIP name in place of
`mini-teacher` and `mini-student`, your image files and class names in place of `emoji`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

import promptkd
from promptkd.datasets.emoji import Emoji
from promptkd.deploy.preprocessing import transform_of_model

Item = tuple[str, int]  # an image's file and its label


class Images(Dataset):
    """Images of files, with labels that the distillation does not look at."""

    def __init__(self, items: list[Item], transform: T.Compose) -> None:
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        file, label = self.items[number]
        with Image.open(file) as image:
            return self.transform(image.convert("RGB")), label  # (3, H, W)


def emoji(root: str) -> tuple[list[Item], list[Item], list[str]]:
    """Training items, test items and class names; the data set is unpacked to `<root>/emoji` on first use."""
    layout = Emoji.find(Path(root))
    split, _ = Emoji.read(layout)
    names = {label: name for _, label, name in split.train}
    train, test = ([(layout.path(file), label) for file, label, _ in part] for part in (split.train, split.test))
    return train, test, [names[label] for label in sorted(names)]


@torch.no_grad()
def compare(student: promptkd.PromptedClip, teacher: promptkd.PromptedClip, loader: DataLoader) -> str:
    """How often the student's class is the teacher's, and how often each is right, as a line."""
    student.prompts.eval()
    counts = torch.zeros(3)
    for images, labels in loader:
        by_student, by_teacher = student.logits(images).argmax(-1), teacher.logits(images).argmax(-1)  # (B,) each
        pairs = ((by_student, by_teacher), (by_student, labels), (by_teacher, labels))
        counts += torch.tensor([int((one == other).sum()) for one, other in pairs])
    shares = 100 * counts / len(loader.dataset)  # type: ignore[arg-type]
    return "agreement {:.1f} %, student right {:.1f} %, teacher right {:.1f} %".format(*shares.tolist())


def main() -> None:
    """Distils, and prints agreement and accuracy on the test images before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder of the data sets")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--output", default="", help="folder to save the student to")
    args = parser.parse_args()
    torch.manual_seed(1)
    train, test, classnames = emoji(args.data)

    # The teacher's class vectors are computed here, once; teacher and student share them.
    teacher = promptkd.load_teacher("mini-teacher", classnames)
    assert teacher.vectors is not None
    spec = promptkd.PromptSpec(
        n_vision=4, depth_vision=4, projector_layers=2, projector_dim=teacher.vectors.features.shape[1]
    )
    student = promptkd.PromptedClip(
        promptkd.load_clip("mini-student", text=False),  # its text encoder is never needed
        spec,
        promptkd.Precision.choose("fp32", torch.device("cpu")),
        vectors=teacher.vectors,
        about={"backbone": "mini-student"},
    )

    exact = transform_of_model(student)  # resize, crop, normalise, as the model wants its images
    augmented = T.Compose([T.RandomHorizontalFlip(), T.RandomAffine(10, (0.1, 0.1), (0.8, 1.1), fill=255), exact])
    loader = DataLoader(Images(train, augmented), batch_size=32, shuffle=True, drop_last=True)
    test_loader = DataLoader(Images(test, exact), batch_size=100)
    optimizer = torch.optim.SGD(student.prompts.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=args.epochs * len(loader))

    print(f"before: {compare(student, teacher, test_loader)}")
    for epoch in range(1, args.epochs + 1):
        student.prompts.train()
        total = 0.0
        for images, _ in loader:
            loss = 1000 * promptkd.mean_kl(student.logits(images), teacher.logits(images))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch}/{args.epochs}: loss {total / len(loader):.2f}")
    print(f"after:  {compare(student, teacher, test_loader)}")
    if args.output:
        student.save(args.output)
        print(f"saved: promptkd.load({args.output!r}) classifies images")


if __name__ == "__main__":
    main()
