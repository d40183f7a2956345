"""Data assets of the dev workspace: a folder for each version, which never changes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml.training_data import TrainingData, check_or_create

_TAGS = "asset.json"


class FolderDataAssets:
    """`{root}/{name}/{version}` with the MLTable file and its tags; a version appears whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def tags(self, name: str, version: str) -> Mapping[str, str] | None:
        try:
            content = json.loads((self._root / name / version / _TAGS).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        tags: dict[str, str] = content["tags"]
        return tags

    def listed(self) -> list[dict[str, Any]]:
        """Every version of every data asset: its name, version and tags."""
        found = sorted(self._root.glob(f"[!.]*/[!.]*/{_TAGS}"))
        return [
            {"name": path.parts[-3], "version": path.parts[-2], "tags": json.loads(path.read_text("utf-8"))["tags"]}
            for path in found
        ]

    def create(self, name: str, version: str, folder: Path, description: str, tags: Mapping[str, str]) -> None:
        target = self._root / name / version
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".registering-") as scratch:
            made = Path(scratch) / version
            shutil.copytree(folder, made)
            (made / _TAGS).write_text(json.dumps({"description": description, "tags": dict(tags)}, indent=2))
            try:
                os.rename(made, target)
            except OSError:  # another registered the same version meanwhile
                if self.tags(name, version) is None:
                    raise

    def register(self, data: TrainingData) -> tuple[int, bool]:
        """The Delta version that the circuit's data asset reads, and whether it was registered just now.

        Raises `ml.training_data.DataAssetDiffers`.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".writing-") as scratch:
            created = check_or_create(self, data, Path(scratch))
        tags = self.tags(data.name, data.version)
        assert tags, "it was there, or was created"
        return int(tags["delta_version"]), created
