"""Names: no file names the machine it was written on or a package registry, and files have good names."""

import re

from tests.guards import source

HOSTS = re.compile(
    "|".join(("py" + "pi", "python" + "hosted", "npm" + "js", "arti" + "factory")), re.IGNORECASE
)
MACHINE = re.compile(
    r"(?<![\w./~])/(?:" + "|".join(("wo" + "rk", "ro" + "ot", "t" + "mp", "ho" + "me")) + r")/\w"
)
FOLDERS = re.compile(r"(^|/)(utils|common|" + "hel" + r"pers?|models|managers?|misc)(\.py|/|$)")


def _find_lines(pattern: re.Pattern[str]) -> list[str]:
    matches = []
    for path in source.files():
        try:
            lines = path.read_text("utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(source.ROOT).as_posix()
        matches += [
            f"{name}, line {number}: {line.strip()[:80]}"
            for number, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    return matches


def test_no_package_registry_is_named() -> None:
    assert not _find_lines(HOSTS)


def test_no_folder_of_a_machine_is_named() -> None:
    assert not _find_lines(MACHINE)


def test_every_file_is_called_after_one_noun() -> None:
    names = [path.relative_to(source.ROOT).as_posix() for path in source.files()]
    assert not [name for name in names if FOLDERS.search(name)]
