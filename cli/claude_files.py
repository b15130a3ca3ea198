"""The files that `coord init --claude` writes into a project's `.claude` folder, and how they are kept up to date.

A manifest beside them remembers the digest of what was written. So a file that the user has not touched follows a newer
coord, and one that was edited is kept unless `force`. `settings.json` belongs to the user: our hooks are added to it,
and nothing of it is ever taken away.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from coordinator.models.errors import CommandFailed

TEMPLATES = Path(__file__).parent / "templates" / "claude"
FOLDER = ".claude"
MANIFEST = ".coord-manifest.json"
COORD_PATH = ".coord-bin"
"""Names this machine's coord for scripts that run where it is not on PATH; not for version control."""
SETTINGS = "settings.json"


def write_claude_files(target: Path, force: bool = False) -> list[dict[str, str]]:
    """Write the scripts, the agent file and the hooks under `target`/.claude.

    One `{path, action}` a file, sorted by path; action is `written` (new), `updated` (ours, untouched), `unchanged`,
    `kept` (edited by the user), `replaced` (edited, and `force`) or `merged` (hooks added to the user's settings).
    CommandFailed when the folder cannot be written.
    """
    folder = target / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remembered = _read_manifest(folder / MANIFEST)
        done = [_write_template(folder, name, remembered, force) for name in _template_names()]
        done.append(_merge_settings(folder / SETTINGS))
        _write(folder / MANIFEST, json.dumps({"files": remembered}, indent=2, sort_keys=True) + "\n")
        path = _own_path()
        if path is not None:
            _write(folder / COORD_PATH, path + "\n")
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandFailed(
            f"{error.filename or folder} cannot be written: {reason}", hint="check the folder's owner and rights"
        ) from error
    return sorted(done, key=lambda entry: entry["path"])


def _template_names() -> list[str]:
    paths = (path.relative_to(TEMPLATES) for path in TEMPLATES.rglob("*") if path.suffix in (".py", ".md", ".sh"))
    return sorted(path.as_posix() for path in paths)


def _write_template(folder: Path, name: str, remembered: dict[str, str], force: bool) -> dict[str, str]:
    """Write one file where the rules allow it, and note its digest in `remembered`."""
    text = (TEMPLATES / name).read_text(encoding="utf-8")
    path = folder / name
    present = _digest(path.read_bytes()) if path.is_file() else None
    shipped = _digest(text.encode())
    if present == shipped:
        action = "unchanged"
    elif present is None:
        action = "written"
    elif present == remembered.get(name):
        action = "updated"
    else:
        action = "replaced" if force else "kept"
    if action in ("written", "updated", "replaced"):
        _write(path, text, mode=0o644 if path.suffix == ".md" else 0o755)
    if action != "kept":
        remembered[name] = shipped
    return {"path": f"{FOLDER}/{name}", "action": action}


def _merge_settings(path: Path) -> dict[str, str]:
    """Add our hooks to the user's settings. What cannot be understood is left as it is."""
    ours = json.loads((TEMPLATES / SETTINGS).read_text(encoding="utf-8"))
    entry = {"path": f"{FOLDER}/{SETTINGS}", "action": "written"}
    settings: Any = {}
    if path.is_file():
        entry["action"] = "merged"
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            settings = None
    hooks = settings.setdefault("hooks", {}) if isinstance(settings, dict) else None
    if not isinstance(hooks, dict) or not all(isinstance(hooks.get(event, []), list) for event in ours["hooks"]):
        return {**entry, "action": "kept"}
    added = False
    for event, groups in ours["hooks"].items():
        present = hooks.setdefault(event, [])
        missing = [group for group in groups if group not in present]
        present.extend(missing)
        added = added or bool(missing)
    if not added:
        return {**entry, "action": "unchanged"}
    _write(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return entry


def _read_manifest(path: Path) -> dict[str, str]:
    """Name → digest of what was written last; nothing when there is no manifest, or it is damaged."""
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(name): str(digest) for name, digest in files.items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _own_path() -> str | None:
    """Where this coord lives: beside the interpreter that runs it, else on PATH."""
    beside = Path(sys.executable).parent / "coord"
    return str(beside) if os.access(beside, os.X_OK) else shutil.which("coord")


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    """Whole or not at all, so that an agent never runs half a script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
