"""A store that the binaries filled by a tiny pipeline; tests are skipped where there are none."""

import os
import subprocess
from pathlib import Path

import pytest

import delt

ROOT = Path(__file__).parents[2]
STAGES = ["ingest", "teacher-train", "init-select", "delt-synthesize", "relabel", "evaluate"]


class Binaries:
    """The stages of a pipeline, over one store."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.store = folder, store

    def run(self, *stages: str, sets: tuple[str, ...] = (), branch: str = "delt", ends: int = 0) -> str:
        """Runs stages; what the last one says."""
        said = ""
        for stage in stages:
            words = [self.folder / stage, "--pipeline", "tests/pipelines/tiny.yaml", "--store", self.store, "--device", "flex"]
            words += ["--branch", branch, *(word for value in sets for word in ("--set", value))]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
            said = done.stdout + done.stderr
            assert done.returncode == ends, said
        return said


@pytest.fixture(scope="session")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Binaries:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
    folder = Path(os.environ.get("DELT_BIN", target))
    if not (folder / "relabel").exists():
        pytest.skip(f"{folder} has no binaries; make build makes them")
    return Binaries(folder, tmp_path_factory.mktemp("delt") / "store")


@pytest.fixture(scope="session")
def run(binaries: Binaries) -> delt.Run:
    """The branch delt of the tiny pipeline: 30 images of 10 classes, two seeds of 3 epochs of 3 batches."""
    binaries.run(*STAGES[:-1])
    return delt.open(binaries.store)["tiny/delt"]
