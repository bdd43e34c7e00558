"""Appendix B. Where things are in a folder: pictures by their names, and which are held out."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from ssd_lite.data import picture_kinds

PARTS = {  # how the parts of a data set are called, as lists or as folders
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    "trainval": "trainval",
    "default": "all",  # CVAT's
}
OTHER_LISTS = {"segmentation", "layout", "action"}  # VOC's lists for other tasks
ENCODINGS = ("utf-8-sig", "utf-16", "gb18030", "shift_jis", "cp1252")
HELD_OUT = 5  # one picture in so many, where nobody has said which
# What tells versions of one photograph apart: Roboflow's ending, Label Studio's beginning (but no
# date), and a copy's " (1)". Not " (2)": collections are often numbered so.
VERSIONS = (r"\.rf\.\w+$", r"^(?=\d*[a-f])[0-9a-f]{8}-", r" \(1\)$")


class Files:
    """All pictures and possible annotations below a folder, by the stems of their names."""

    def __init__(self, root: Path):
        self.root = root
        self.pictures: dict[str, list[Path]] = {}
        self.others: dict[str, list[Path]] = {}  # by ending
        self.folders: set[tuple[str, ...]] = set()
        for path in sorted(root.rglob("*")):
            inside = path.relative_to(root).parts
            if any(part.startswith((".", "__")) for part in inside) or not path.is_file():
                continue
            self.folders.add(inside[:-1])
            ending = path.suffix.lower()
            if ending in picture_kinds():
                self.pictures.setdefault(same_text(path.stem), []).append(path)
            else:
                self.others.setdefault(ending, []).append(path)

    def picture(self, named: str | Path, near: Path | None = None) -> Path | None:
        """The picture that a name or a path means: the one that shares most folders with it.

        Raises:
            ValueError: two are equally near.
        """
        name = PurePosixPath(str(named).replace("\\", "/"))
        stem = self.stem(str(named))
        found = self.pictures.get(stem, [])
        if name.suffix.lower() in picture_kinds():
            found = [p for p in found if p.suffix.lower() == name.suffix.lower()] or found
        if len(found) < 2:
            return found[0] if found else None
        folders = (near.relative_to(self.root).parts[:-1] if near else ()) + name.parts[:-1]
        share = [len(set(p.relative_to(self.root).parts[:-1]) & set(folders)) for p in found]
        best = [p for p, count in zip(found, share) if count == max(share)]
        if len(best) > 1:
            raise ValueError(
                f"{near or self.root}: {stem!r} may mean {best[0]} or {best[1]}; give pictures "
                "different names"
            )
        return best[0]

    def listed(
        self, names: Iterable[str], source: Path, problems: list[str], notes: list[str]
    ) -> dict[str, Path]:
        """The pictures that a file names; a problem for each that is none, or that may be two."""
        found: dict[str, Path] = {}
        for name in names:
            try:
                picture = self.picture(name, near=source)
            except ValueError as error:
                problems.append(str(error))
                continue
            if picture is None:
                problems.append(f"{source}: names {name!r}, but there is no such picture")
            else:
                found[name] = picture
        if astray := [name for name, picture in found.items() if self._astray(name, picture)]:
            notes.append(
                f"{count(len(astray), 'picture was', 'pictures were')} found by name alone, in "
                f"other folders than {source} says: {few(astray)}"
            )
        return found

    def _astray(self, name: str, picture: Path) -> bool:
        """Whether a folder that a name gives is here, but the picture in another."""
        named = PurePosixPath(name.replace("\\", "/")).parts[:-1]
        lies_in = picture.relative_to(self.root).parts[:-1]
        for ending in (named[start:] for start in range(len(named))):
            if any(folder[-len(ending) :] == ending for folder in self.folders):
                return lies_in[-len(ending) :] != ending
        return False

    def known(self, name: str) -> bool:
        """Whether some picture has this name."""
        return self.stem(name) in self.pictures

    def stem(self, name: str) -> str:
        """What a file calls a picture, without folders and ending; as a URL if that fits alone."""
        path = PurePosixPath(name.replace("\\", "/"))
        stem = path.stem if path.suffix.lower() in picture_kinds() else path.name
        literal = same_text(stem)
        return literal if literal in self.pictures else same_text(unquote(stem))

    def part(self, path: Path) -> str | None:
        """The part of the data set, "train" for example, that a file's folders name."""
        for name in path.relative_to(self.root).parts[:-1]:
            if part := PARTS.get(re.sub(r"[-_ ]?\d{4}$", "", name.lower())):
                return part
        return None


def same_text(name: str) -> str:
    """A name in one of the two forms in which systems write accents."""
    return unicodedata.normalize("NFC", name)


def few(names: Sequence[object], shown: int = 3, between: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return between.join(str(name) for name in names[:shown]) + more


def count(number: int, one: str, several: str = "") -> str:
    """A number and what is counted: "1 picture", "2 pictures"."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def choose_halves(
    files: Files, annotated: Sequence[Path], problems: list[str], notes: list[str]
) -> tuple[list[Path], list[Path], str]:
    """What to train on, what to hold out, and who says so; the two never share a picture."""
    parts, who = read_lists(files, set(annotated), problems, notes), "lists"
    if not parts:
        who = "folders"
        for path in annotated:
            parts.setdefault(files.part(path) or "", []).append(path)
    held = next((name for name in ("test", "val") if parts.get(name)), None)
    # With trainval and val but no test, trainval contains what is measured.
    first, second = ("train", "trainval") if held == "val" else ("trainval", "train")
    chosen = first if parts.get(first) else second
    if held is None or not parts.get(chosen):
        train, test = hash_halves([p for part in parts.values() for p in part], problems)
        split = "every fifth, by a hash of its name"
    else:
        train, test, split = parts[chosen], parts[held], f"the {who} {chosen} and {held}"

    # No picture is in both halves, and none is lost without a word.
    both = set(train) & set(test)
    if both:
        notes.append(
            f"{count(len(both), 'picture is', 'pictures are')} in {chosen} and in {held}, so held "
            f"out and not trained on: {few([p.name for p in sorted(both)])}"
        )
        train = [path for path in train if path not in both]
    if both and not train:
        problems.append(
            f"{files.root}: {chosen} and {held} name the same pictures, so nothing is left to "
            f"train on; take some out of {held}"
        )
    unused = sorted(set(annotated) - set(train) - set(test))
    if unused:
        notes.append(
            f"{count(len(unused), 'annotated picture is', 'annotated pictures are')} not used "
            f"({split}): {few([p.name for p in unused])}"
        )
    return train, test, split


def hash_halves(paths: Iterable[Path], problems: list[str]) -> tuple[list[Path], list[Path]]:
    """Hold out about a fifth, by names alone, so that adding pictures never makes one change sides.

    Versions of one photograph have one number, and stay together.
    """
    by_number: dict[int, list[Path]] = {}
    for path in sorted(set(paths)):
        name = hashlib.sha256(photograph(path).encode())
        by_number.setdefault(int.from_bytes(name.digest()[:8], "big"), []).append(path)
    numbers = sorted(by_number)
    held = [number for number in numbers if number % HELD_OUT == 0] or numbers
    if held == numbers:
        held = numbers[:1]
    test = sorted(path for number in held for path in by_number.pop(number))
    train = sorted(path for same in by_number.values() for path in same)
    if not train and not problems:
        problems.append(
            f"{count(len(test), 'annotated picture')}: too few to train on some and hold one out; "
            "add more"
        )
    return train, test


def photograph(path: Path) -> str:
    """The name that all versions and copies of one photograph share."""
    name = same_text(path.stem)
    for version in VERSIONS:
        name = re.sub(version, "", name)
    return name


def read_lists(
    files: Files, annotated: set[Path], problems: list[str], notes: list[str]
) -> dict[str, list[Path]]:
    """The pictures that lists such as trainval.txt name, by the part they make."""
    parts: dict[str, list[Path]] = {}
    for path in files.others.get(".txt", []):
        part = PARTS.get(path.stem.lower())
        folders = {folder.lower() for folder in path.relative_to(files.root).parts[:-1]}
        if part is None or folders & OTHER_LISTS or "labels" in folders:
            continue
        names = read_names(path, files)
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            notes.append(f"{path}: named twice: {few(twice)}")
        listed = parts.setdefault(part, [])
        pictures = files.listed(dict.fromkeys(names), path, problems, notes).values()
        listed += [picture for picture in pictures if picture in annotated]
        if not names:
            problems.append(f"{path}: empty; write the names of the pictures into it, one a line")
    return parts


def read_names(path: Path, files: Files) -> list[str]:
    """Names of pictures from a list in any usual encoding, with or without VOC's second column.

    A line is a name, spaces included; where it names no picture, a last -1, 0 or 1 is left out.
    """
    content, guesses = path.read_bytes(), []
    for encoding in ENCODINGS:
        try:
            lines = content.decode(encoding).splitlines()
        except UnicodeError:
            continue
        names = [line.strip() for line in lines if line.strip()]
        names = [name if files.known(name) else re.sub(r"\s+(-1|0|1)$", "", name) for name in names]
        guesses.append(names)
        if all(map(files.known, names)):
            return names
    return guesses[0] if guesses else []


def read_text(path: Path) -> str:
    """A text file in UTF-8; an error names it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8") from None
