"""Changes of the product for a proof, made in its processes before they begin: this folder is on PYTHONPATH.

    PROOF_LEASE=3      a lease of so many seconds, so that the test run need not wait for a whole one
    PROOF_LINGER=FILE  when this file exists, the next claim removes it, makes FILE.inside and waits there
                       for a moment with its transaction open

The product does not depend on it.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

LINGER_SECONDS = 1.0


def _shorten(module: ModuleType) -> None:
    lease = float(os.environ["PROOF_LEASE"])
    values = {"LEASE": timedelta(seconds=lease), "SAFETY_SECONDS": lease / 9, "RENEW_SECONDS": lease / 4.5}
    for name, value in values.items():
        if hasattr(module, name):
            setattr(module, name, value)


def _linger(module: ModuleType) -> None:
    request_file = Path(os.environ["PROOF_LINGER"])
    claim: Callable[..., Any] = module.claim

    @functools.wraps(claim)
    def lingering(*args: Any, **keywords: Any) -> Any:
        claimed = claim(*args, **keywords)
        if claimed and request_file.exists():
            request_file.rename(request_file.with_suffix(".inside"))
            time.sleep(LINGER_SECONDS)
        return claimed

    module.__dict__["claim"] = lingering


CHANGES: dict[str, Callable[[ModuleType], None]] = {}
if "PROOF_LEASE" in os.environ:
    CHANGES |= {"mailer.delivery.worker_lease": _shorten, "mailer.delivery.delivery": _shorten}
if "PROOF_LINGER" in os.environ:
    CHANGES |= {"mailer.outbox.due_rows": _linger}


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        CHANGES[module.__name__](module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to change, and changes them once they are loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


sys.meta_path.insert(0, _Finder())
