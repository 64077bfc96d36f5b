"""`python -m tests.bench.csv_reading`: how many generated files we and other libraries read right."""

import csv
import importlib
import io
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from lists.tables import csv_records, encoding_detection
from lists.tables.csv_records import SEPARATORS

NAMES = [
    "José Núñez",
    "Ana María Ibáñez",
    "François Müller",
    "Zoë O’Neil",
    "Cleo Peña",
    "Benjamín",
    "“Chelo” Gómez",
    "Íñigo",
]
NAMES += ["Ángel Güell", "Ben Smith", "Dora Lee"]
NOTES = ("Smith, Ben; hijo", "a\nb", 'la "jefa"', "x", "", "Sí, claro")
CODECS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "mac_roman", "cp850")
SIZES = (1, 3, 20, 100)
SNIFFED = 20_000
Rows = list[list[str]]


def main() -> None:
    """Print how many of the files each reader reads right."""
    texts, tables = dict.fromkeys(READERS, 0), dict.fromkeys(SNIFFERS, 0)
    files = [(codec, *each) for codec in CODECS for each in _files(codec, random.Random(1))]
    for codec, text, separator in files:
        data = text.encode(codec)
        rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=separator)]
        for name, read in READERS.items():
            with suppress(Exception):
                texts[name] += read(data) == text
        for name, sniff in SNIFFERS.items():
            with suppress(Exception):
                tables[name] += sniff(text) == rows
    print(f"{len(files)} files; encodings read right: {texts}; dialects read right: {tables}")


def _files(codec: str, chance: random.Random) -> list[tuple[str, str]]:
    return [
        (_file(size, separator, ending, codec, chance), separator)
        for size in SIZES
        for separator in SEPARATORS.values()
        for ending in ("\n", "\r\n")
    ]


def _file(size: int, separator: str, ending: str, codec: str, chance: random.Random) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=ending)
    writer.writerow(["email", "name", "zip", "notes"])
    for number in range(size):
        name, notes = chance.choice(NAMES), chance.choice(NOTES)
        writer.writerow([f"p{number}@example.org", name, chance.choice(["85003", ""]), notes])
    return text.getvalue().encode(codec, "ignore").decode(codec)


def _ours(data: bytes) -> str:
    encoding = encoding_detection.detect(io.BytesIO(data))
    return data[encoding.mark :].decode(encoding.codec)


def _our_table(text: str) -> Rows:
    file = io.BytesIO(text.encode())
    encoding = encoding_detection.detect(file)
    return [
        cells for _, cells in csv_records.read_records(file, encoding, csv_records.detect(file, encoding))
    ]


def _sniffed(text: str, library: Any) -> Rows:
    dialect = library.Sniffer().sniff(text[:SNIFFED])
    return [*library.reader(io.StringIO(text, newline=""), dialect)]


def _other(name: str) -> Any:
    with suppress(ImportError):
        return importlib.import_module(name)
    return None


READERS: dict[str, Callable[[bytes], str]] = {"ours": _ours}
SNIFFERS: dict[str, Callable[[str], Rows]] = {
    "ours": _our_table,
    "the standard library": lambda text: _sniffed(text, csv),
}
if normalizer := _other("charset_normalizer"):
    READERS["charset-normalizer"] = lambda data: str(normalizer.from_bytes(data).best()).lstrip("\ufeff")
if chardet := _other("chardet"):
    READERS["chardet"] = lambda data: data.decode(chardet.detect(data)["encoding"]).lstrip("\ufeff")
if clever := _other("clevercsv"):
    SNIFFERS["clevercsv"] = lambda text: _sniffed(text, clever)


if __name__ == "__main__":
    main()
