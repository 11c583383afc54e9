"""What there is to choose from: tasks, methods, robots and every other group of the configuration.

  robodistill list                 all groups
  robodistill list tasks           one of them; tasks, methods, robots, recipes, pipelines
  robodistill list tasks config_dir=my_configs

Reads   the configuration tree, and the folder config_dir=<folder> of the same shape with your own files.
Writes  nothing.

Keys    config_dir=<folder>     your own task/, robot/, method/, ...; every verb takes it

Example: what can be put after task=
  robodistill list tasks
"""

from __future__ import annotations

import sys

from robodistill.listing import listing


def run_words(words: list[str]) -> int:
    """Show the groups named in ``words``, or all."""
    sys.stdout.write(listing(words))
    return 0
