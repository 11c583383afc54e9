"""``python -m robodistill``."""

import sys

from robodistill.cli import main

sys.exit(main())
