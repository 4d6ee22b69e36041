"""What a run of delt made: synthetic images, the views that students see of them, soft labels, teachers.

``open`` opens a store; ``SyntheticImages``, ``StoredViews`` and ``RealImages`` are torch data sets, ``Teacher`` is a network,
``label`` asks any torch model for labels of the stored views.
"""

from delt.data import Batch, RealImages, StoredViews, SyntheticImages
from delt.labels import label
from delt.store import Artifact, DeltError, Run, Store, open
from delt.teacher import Teacher

__all__ = [
    "Artifact",
    "Batch",
    "DeltError",
    "RealImages",
    "Run",
    "Store",
    "StoredViews",
    "SyntheticImages",
    "Teacher",
    "label",
    "open",
]
