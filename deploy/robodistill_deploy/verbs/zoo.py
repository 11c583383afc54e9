"""List the policies that come with the package, or show the card of one: what it was measured to do, its limits.

robodistill-run zoo
robodistill-run zoo unitree_go2_flat
robodistill-run selftest zoo:unitree_go2_flat
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from robodistill_deploy import zoo


def add(verbs: Any) -> Callable[[argparse.Namespace], None]:
    """Add the verb to the command line's sub-parsers and return what runs it."""
    parser = verbs.add_parser(
        "zoo",
        help="the policies that come with the package",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", help="whose card to show; without it all are listed")
    return run


def run(options: argparse.Namespace) -> None:
    """Print the list, or one card."""
    if options.name:
        sys.stdout.write(zoo.describe(zoo.card(options.name.removeprefix(zoo.PREFIX))))
        return
    for name in zoo.names():
        sys.stdout.write(f"{zoo.PREFIX}{name}  {zoo.card(name).title}\n")
