"""Builds the platform wheel: the package with the stripped programs, the Makefile, pipelines and data (`make wheel`).

    python3 python/wheel.py --bin target/debug --out dist

A wheel is a zip file with a list of its files; it is written here by the standard library, with fixed dates, so that equal inputs give
equal bytes. Its platform tag names the newest glibc symbol that a program needs. Needs strip and objdump (binutils).
"""

import argparse
import base64
import hashlib
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: The program that is all stages and what goes with them; it is told by the environment which.
STAGES = "delt-programs"
#: Programs beside those of the stages.
MORE = ("compare", "continual", "cross-arch", "prune")
SCRIPT = '#!/bin/sh\nDELT_PROGRAM={name} exec "${{0%/*}}/delt-programs" "$@"\n'
#: What a run reads, by its place in the clone and inside the package.
INSIDE = ("Makefile", "pipelines", "slurm", "data/trashnet32", "data/README.md", "LICENSE-MIT", "LICENSE-APACHE")


def main() -> None:
    """Writes the wheel and says where, how large it is and what it needs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", type=Path, required=True, help="folder of the compiled programs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the wheel")
    parser.add_argument("--level", type=int, default=9, help="of compression, 1 to 9")
    arguments = parser.parse_args()
    stages = [stage.name for stage in (ROOT / "stages").iterdir() if (stage / "Cargo.toml").exists()]
    scripts = {name: SCRIPT.format(name=name).encode() for name in sorted([*stages, *MORE])}
    with tempfile.TemporaryDirectory() as folder:
        programs = [stripped(arguments.bin / name, Path(folder)) for name in (STAGES, "delt-store")]
        glibc = max(newest_glibc(program) for program in programs)
        path = write(programs, scripts, glibc, arguments.out, arguments.level)
    for old in arguments.out.glob("delt-*.whl"):
        if old != path:
            old.unlink()
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB, glibc {glibc[0]}.{glibc[1]} or newer, {len(scripts) + 1} programs")


def stripped(program: Path, folder: Path) -> Path:
    """A copy without symbols and debug information."""
    if not program.exists():
        raise SystemExit(f"wheel: {program} is not built; make build")
    copy = folder / program.name
    shutil.copy(program, copy)
    subprocess.run(["strip", str(copy)], check=True)
    return copy


def newest_glibc(program: Path) -> tuple[int, int]:
    """The version of the newest glibc symbol that a program needs."""
    symbols = subprocess.run(["objdump", "-T", str(program)], check=True, capture_output=True, text=True).stdout
    return max((int(major), int(minor)) for major, minor in re.findall(r"GLIBC_(\d+)\.(\d+)", symbols))


def write(programs: list[Path], scripts: dict[str, bytes], glibc: tuple[int, int], out: Path, level: int) -> Path:
    """Writes the wheel of these programs."""
    project = (ROOT / "python/pyproject.toml").read_text()
    version = re.search(r'^version = "(.*?)"', project, re.MULTILINE)[1]
    needs = re.findall(r'"(.*?)"', re.search(r"^dependencies = \[(.*)\]", project, re.MULTILINE)[1])
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_{platform.machine()}"
    about = f"delt-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", "Name: delt", f"Version: {version}", "License: MIT OR Apache-2.0"]
    metadata += ["Summary: Dataset distillation: the programs of delt and the package that reads what they made"]
    metadata += ["Requires-Python: >=3.10", *(f"Requires-Dist: {need}" for need in needs)]
    metadata += ["Provides-Extra: torch", 'Requires-Dist: torch>=2.0; extra == "torch"', 'Requires-Dist: torchvision; extra == "torch"']
    contents: dict[str, bytes] = {}
    for path in sorted((ROOT / "python/src").glob("*/*")):
        if path.is_file():
            contents[str(path.relative_to(ROOT / "python/src"))] = path.read_bytes()
    for program in programs:
        contents[f"delt_programs/inside/bin/{program.name}"] = program.read_bytes()
    contents |= {f"delt_programs/inside/bin/{name}": script for name, script in scripts.items()}
    for name in INSIDE:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                contents[f"delt_programs/inside/{path.relative_to(ROOT)}"] = path.read_bytes()
    contents[f"{about}/METADATA"] = "\n".join(metadata + ["", ""]).encode()
    contents[f"{about}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: delt\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    contents[f"{about}/entry_points.txt"] = b"[console_scripts]\ndelt = delt_programs:main\n"
    record = [f"{name},sha256={digest(content)},{len(content)}" for name, content in contents.items()]
    contents[f"{about}/RECORD"] = "\n".join(record + [f"{about}/RECORD,,", ""]).encode()
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"delt-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            is_program = content.startswith((b"\x7fELF", b"#!"))
            entry.external_attr = (0o100755 if is_program else 0o100644) << 16
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED, level)
    return path


def digest(content: bytes) -> str:
    """SHA-256 as a wheel's RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


if __name__ == "__main__":
    main()
