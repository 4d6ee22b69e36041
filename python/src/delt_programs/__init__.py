"""The command ``delt`` of the platform wheel: ``delt make P``, or one program, in the current folder.

A package of its own, beside ``delt``, so that it neither needs nor loads pyarrow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

#: What ``make wheel`` puts beside this file: bin/, Makefile, pipelines/, data/, slurm/.
INSIDE = Path(__file__).parent / "inside"

USAGE = """delt make TARGET [KNOB=value ...]    what the Makefile does, e.g. delt make demo; delt make lists it
delt PROGRAM ARGUMENTS               one program, e.g. delt relabel --pipeline pipelines/demo.yaml --help
delt --version

Everything happens in the current folder: the store is data/store, and pipelines/NAME.yaml here comes before the one of this name
inside. Programs: {programs}"""


def main() -> NoReturn:
    """Replaces this process by make or by the program that is asked for."""
    arguments = sys.argv[1:]
    binaries = INSIDE / "bin"
    programs = sorted(path.name for path in binaries.iterdir() if path.name != "delt-programs")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE.format(programs=", ".join(programs)))
        sys.exit(0)
    if arguments[0] == "--version":
        print(f"delt {version('delt')}")
        sys.exit(0)
    os.environ["DELT_HOME"] = str(INSIDE)
    name, *rest = arguments
    if name == "make":
        _become([_make(), "-f", str(INSIDE / "Makefile"), f"BIN={binaries}", *rest])
    for program in (name, f"delt-{name}"):
        if program in programs:
            _become([str(binaries / program), *_found(rest)])
    sys.exit(f"delt: no program {name}; there are make, {', '.join(programs)}")


def _make() -> str:
    """GNU make, or an end that says how to get it."""
    if any(sign in str(INSIDE) for sign in " #$:%"):
        sys.exit(f"delt: make cannot read files below {INSIDE}, whose name has a space or a sign of make's; install delt elsewhere")
    for name in ("gmake", "make"):
        path = shutil.which(name)
        if path and subprocess.run([path, "--version"], capture_output=True, text=True).stdout.startswith("GNU Make"):
            return path
    sys.exit(
        "delt: `delt make` needs GNU make, which is not here (Debian, Ubuntu: apt-get install make; Fedora: dnf install make; conda: "
        "conda install make); without it call the programs one after the other, e.g. delt ingest --pipeline pipelines/demo.yaml"
    )


def _found(arguments: list[str]) -> list[str]:
    """Arguments with the pipelines inside for those that are not here."""
    found = list(arguments)
    for at, (option, value) in enumerate(zip(arguments, arguments[1:]), 1):
        if option in ("--pipeline", "--sweep") and not Path(value).exists() and (INSIDE / value).exists():
            found[at] = str(INSIDE / value)
    return found


def _become(command: list[str]) -> NoReturn:
    sys.stdout.flush()
    os.execv(command[0], command)
