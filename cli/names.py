"""Names of folders and files on any disk: letters and digits of every script, dots, dashes and underscores."""

import re
import unicodedata

# A folder's longest name is 255 bytes on most disks, and a letter has up to four.
LETTERS, BYTES = 100, 200
# Windows can't have folders of these names, whatever comes behind a dot.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_MARKS, _OURS = "._-", (".jsonl", ".part")  # the batch's own files end in these


def composed(text: str) -> str:
    """Text with one code for each letter with its accents, where there is one: disks differ in how they write them."""
    return unicodedata.normalize("NFC", text)


def alike(text: str) -> str:
    """The same for all names that some disk takes for one: large and small letters, and other ways to write them."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def names_a_folder(text: str) -> bool:
    """Whether a composed text can name a folder on every disk, next to the batch's own files."""
    return (
        0 < len(text) <= LETTERS
        and len(text.encode(errors="replace")) <= BYTES
        and all(letter in _MARKS or _is_plain(letter) for letter in text)
        and not unicodedata.category(text[0]).startswith("M")
        and not text.startswith(".")
        and not alike(text).endswith((".", *_OURS))
        and not _DEVICES.fullmatch(alike(text))
    )


def slug(text: str, letters: int = 40, size: int = 80) -> str:
    """Text as part of a file's name: small letters and digits with dashes between them, "node" if it has none.

    At most so many letters, and bytes.
    """
    parts = "".join(letter if _is_plain(letter) else " " for letter in composed(text.lower())).split()
    cut = "-".join(parts)[:letters].encode()[:size].decode(errors="ignore")
    return cut.strip("-") or "node"


def _is_plain(letter):
    """Letters, the marks that belong to them, and digits; nothing that is invisible or turns the direction of text."""
    kind = unicodedata.category(letter)
    return kind[0] in "LM" or kind == "Nd"
