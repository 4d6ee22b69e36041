"""The artifact store: runs by name, the artifacts that they point to, and the manifest of each.

docs/artifacts.md of the project describes the folders and files that are read here.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
#: The layout of manifests and the schema version of files that this package reads.
VERSION = 1
#: The highest schema version that it reads, where that is another: `synthetic` in network space.
NEWEST = {"synthetic": 2}


class DeltError(Exception):
    """Something on disk is not what was expected; the message names it, and what to do."""


class Artifact:
    """One folder that a stage made: its files and its manifest.

    Attributes:
        folder: where its files are.
        kind: ``dataset``, ``teacher``, ``scores``, ``initial``, ``synthetic``, ``labels`` or ``evaluation``.
        digest: of its content, 64 hex digits.
        classes: names of the classes; a label is an index into this list.
        config: the settings that the stage read.
        seed: of every draw.
        inputs: the content digests of what it was made from, by role.
        facts: what the manifest says of this kind, see docs/artifacts.md.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        manifest = _json(self.folder / MANIFEST)
        provenance = manifest["provenance"]
        found = (manifest.get("format_version", 1), provenance["schema_version"])
        newest = NEWEST.get(manifest["artifact"], VERSION)
        if found[0] != VERSION or not VERSION <= found[1] <= newest:
            raise DeltError(
                f"{self.folder / MANIFEST}: format and schema version {found}, this package reads {(VERSION, newest)}; "
                "install the package that belongs to that version of delt"
            )
        self.kind: str = manifest["artifact"]
        self.digest: str = manifest["digest"]
        self.classes: list[str] = provenance["classes"]
        self.config: dict[str, Any] = provenance["config"]
        self.seed: int = provenance["seed"]
        self.inputs: dict[str, str] = provenance["inputs"]
        self.facts: dict[str, Any] = manifest["facts"]
        self.provenance: dict[str, Any] = provenance
        self._files: dict[str, dict[str, Any]] = manifest["files"]

    def file(self, name: str) -> Path:
        """The path of a file, whose size is compared with the manifest's (``delt-store verify`` compares its bytes)."""
        path = self.folder / name
        if name not in self._files:
            raise DeltError(f"{self.folder}: has no file {name}, it holds {sorted(self._files)}")
        expected, found = self._files[name]["bytes"], path.stat().st_size if path.exists() else "no"
        if found != expected:
            raise DeltError(f"{path}: found {found} bytes, expected {expected}; run delt-store verify")
        return path

    def expect(self, kind: str) -> Artifact:
        """This artifact, or an error where it is of another kind."""
        if self.kind != kind:
            raise DeltError(f"{self.folder}: is an artifact of kind {self.kind}, expected {kind}")
        return self

    def __repr__(self) -> str:
        return f"<{self.kind} {self.folder}>"


class Run:
    """A branch of a pipeline in a store, e.g. ``demo/delt``: the artifacts that its stages made last."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name = store, name.strip("/")
        self._folder = store.folder / "runs" / self.name
        if self.name not in store:
            raise DeltError(f"{store.folder}: has no run {name}, {_instead(self.name, list(store))}")

    @property
    def names(self) -> list[str]:
        """Names of the artifacts, e.g. ``dataset``, ``teacher``, ``synthetic``, ``labels-3407``."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def artifact(self, name: str) -> Artifact:
        """What the run points to under a name of :attr:`names`."""
        path = self._folder / f"{name}.json"
        if not path.exists():
            raise DeltError(f"{self._folder}: has no {name}, it holds {', '.join(self.names)}; run the stage that makes it")
        pointer = _json(path)
        return Artifact(self.store.folder / pointer["artifact"] / pointer["key"][:32])

    @property
    def seeds(self) -> list[int]:
        """Seeds of students that there are labels for."""
        return sorted({int(name.rsplit("-", 1)[1]) for name in self.names if name.startswith(("labels-", "torch-labels-"))})

    def labels(self, seed: int) -> Artifact:
        """The labels of a student; those in torch's order (``relabel.order: torch``) where there are no others."""
        name = f"labels-{seed}"
        return self.artifact(f"torch-{name}" if name not in self.names and f"torch-{name}" in self.names else name)

    @property
    def classes(self) -> list[str]:
        """Names of the classes; a label, and a place in a row of logits, is an index into this list."""
        return self.artifact("teacher").classes

    def __repr__(self) -> str:
        return f"<run {self.name} of {self.store.folder}: {', '.join(self.names)}>"


class Store:
    """A folder of artifacts, by default ``data/store``. Iterating gives the names of its runs; ``store[name]`` is a run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        if not (self.folder / "runs").is_dir():
            raise DeltError(
                f"{self.folder}: is no artifact store, which has a folder runs; give the folder of make's STORE= "
                "(a store in the cloud is read from its CACHE=)"
            )

    def __iter__(self) -> Any:
        runs = (path for path in sorted((self.folder / "runs").glob("*/*")) if any(path.glob("*.json")))
        return iter([f"{path.parent.name}/{path.name}" for path in runs])

    def __getitem__(self, run: str) -> Run:
        return Run(self, run)

    def __repr__(self) -> str:
        return f"<store {self.folder}: {', '.join(self)}>"


def open(folder: str | Path) -> Any:
    """Opens a store, ``open("data/store")["demo/delt"]``, or the folder of one artifact: a :class:`Store` or an :class:`Artifact`."""
    return Artifact(folder) if (Path(folder).expanduser() / MANIFEST).exists() else Store(folder)


def _instead(name: str, runs: list[str]) -> str:
    """What to say to someone who asked for a run that is not there: the branches of a pipeline of that name, or what is near."""
    branches = [run for run in runs if run.partition("/")[0] == name]
    if branches:
        return f"which is a pipeline; its branches are runs: {', '.join(branches)}"
    near = difflib.get_close_matches(name, runs)
    return f"did you mean {' or '.join(near)}?" if near else f"it holds {', '.join(runs) or 'none'}"


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DeltError(f"{path}: cannot be read ({error})") from error
