"""Setup: the first command on a new machine succeeds, or prints one line to type."""

import os
import subprocess
from pathlib import Path

from tests.guards.source import ROOT

NO_VENV = """#!/bin/sh
case "$2" in
    *ensurepip*) exit 1 ;;
    *) echo "$0" ;;
esac
"""
TOO_OLD = "#!/bin/sh\nexit 1\n"
NOT_CHOSEN = "#!/bin/sh\necho 'python3.13: command not found'; exit 127\n"


def run(folder: Path, **pythons: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/setup with only these Pythons on the path; `python3_12` stands for python3.12."""
    (folder / "bin").mkdir()
    for name, text in pythons.items():
        program = folder / "bin" / name.replace("_", ".")
        program.write_text(text)
        program.chmod(0o755)
    for tool in ("bash", "mkdir", "flock", "dirname", "id"):
        path = next(Path(parent) / tool for parent in ("/usr/bin", "/bin") if (Path(parent) / tool).exists())
        (folder / "bin" / tool).symlink_to(path)
    (folder / "scripts").mkdir()
    copy = folder / "scripts" / "setup"
    copy.write_text((ROOT / "scripts" / "setup").read_text().replace("/usr/bin/python3", "/nowhere/python3"))
    return subprocess.run(
        ["bash", copy], env={"PATH": str(folder / "bin")}, capture_output=True, text=True, check=False
    )


def line(package: str) -> str:
    return (
        f"Type this, then try again:  {'' if os.getuid() == 0 else 'sudo '}apt-get install --yes {package}\n"
    )


def test_a_python_without_venv_gives_exactly_one_line_to_type(tmp_path: Path) -> None:
    answer = run(tmp_path, python3=NO_VENV)
    assert answer.returncode == 1
    assert answer.stdout + answer.stderr == line("python3-venv")


def test_the_line_names_the_python_that_is_new_enough(tmp_path: Path) -> None:
    answer = run(tmp_path, python3=TOO_OLD, python3_13=NOT_CHOSEN, python3_12=NO_VENV)
    assert answer.stdout + answer.stderr == line("python3.12-venv")


def test_a_machine_without_a_new_enough_python_gets_an_error(tmp_path: Path) -> None:
    answer = run(tmp_path, python3=TOO_OLD)
    assert answer.returncode == 1
    assert answer.stdout + answer.stderr == "Python 3.11 or newer is needed, and none was found.\n"


def test_every_dependency_is_pinned_and_no_address_is_in_the_file() -> None:
    pins = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert pins == sorted(pins)
    assert all(pin.count("==") == 1 and "/" not in pin for pin in pins)
