"""Packages that only some calls need, and what is said where one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from delt.store import DeltError


def package(name: str, what: str, without: str) -> Any:
    """The module ``torch``, or one like it; an error that names what needs it and what there is without where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise DeltError(f"{what} needs {error.name}, which is not installed: pip install 'delt[torch]'; without it, {without}") from error
