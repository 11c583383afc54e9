"""Notice that training has written a newer checkpoint."""

from __future__ import annotations

from pathlib import Path

_MANIFEST = "manifest.json"


class CheckpointWatch:
    """Tells once of each content that a checkpoint's folder has had.

    A checkpoint is renamed into place when it is whole, and its manifest holds the hashes of its files: a half-written
    one is never seen, and one written again with the same content is not new.
    """

    def __init__(self, folder: Path) -> None:
        """Take what is there now, if anything, as seen."""
        self.folder = folder
        self._seen = self._manifest()

    def poll(self) -> bool:
        """Return whether the folder holds a checkpoint that no earlier call told of."""
        found = self._manifest()
        if found is None or found == self._seen:  # None: not yet there, or just between two renames
            return False
        self._seen = found
        return True

    def forget(self) -> None:
        """Tell of the present content again, for it could not be read."""
        self._seen = None

    def _manifest(self) -> bytes | None:
        try:
            return (self.folder / _MANIFEST).read_bytes()
        except OSError:
            return None
