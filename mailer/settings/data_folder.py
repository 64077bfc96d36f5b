"""Data folder: checks whether it holds a service, so that no command works in a wrong folder.

Only `mailer serve`, `mailer db create` and `mailer db restore` may fill a folder. Every other command refuses
a folder that holds no keys, and one in which a restore was interrupted, and names the folder and the reason.
"""

from collections.abc import Mapping
from pathlib import Path

from lists.errors import Conflict, NotFound
from mailer.settings import keys
from mailer.settings.layers import SECRET_KEYS
from mailer.settings.loading import SECRETS, SETTINGS

RESTORE_MARKER = (
    "restore.unfinished"  # exists from the first file that a restore places until all are in place
)


def has_keys(home: Path) -> bool:
    """Tell whether this folder holds one of the keys at least: a first start or a restore filled it."""
    return any((home / SECRETS / name).exists() for name in keys.LOSS_SENTENCES)


def is_prepared(home: Path) -> bool:
    """Tell whether this folder holds settings, of a service that may not have started yet."""
    return (home / SETTINGS).exists() or any((home / SECRETS / name).exists() for name in SECRET_KEYS)


def require(home: Path, environ: Mapping[str, str]) -> None:
    """Raise NotFound, with what to do, unless this folder holds a service; Conflict for half a restore."""
    refuse_unfinished(home)
    if not has_keys(home):
        files = " and ".join(f"{SECRETS}/{name}" for name in keys.LOSS_SENTENCES)
        raise NotFound(
            f"{home} holds no data of this service: there are no keys in its folder {SECRETS}."
            f" {_explain_choice(environ)} If it is the wrong folder, set MAILER_HOME to the right one."
            " A new service begins with “mailer serve” or “mailer db create”,"
            " a backup is put back by “mailer db restore”."
            f" On a second machine, first copy {files} from the first."
        )


def refuse_unfinished(home: Path) -> None:
    """Raise Conflict, with what to do, when a restore into this folder was interrupted."""
    if (home / RESTORE_MARKER).is_symlink() or (home / RESTORE_MARKER).exists():
        raise Conflict(
            f"A restore into {home} was interrupted or is under way, so nothing here is whole. Give the same"
            " “mailer db restore” again: it takes away what it had placed, and begins anew."
        )


def _explain_choice(environ: Mapping[str, str]) -> str:
    if environ.get("MAILER_HOME"):
        return f"MAILER_HOME says {environ['MAILER_HOME']}."
    state = "is empty" if "MAILER_HOME" in environ else "is not set"
    return f"MAILER_HOME {state}, so this is the default."
