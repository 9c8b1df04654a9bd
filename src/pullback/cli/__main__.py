"""`python -m pullback.cli`."""

import sys

from pullback.cli.command import main

sys.exit(main())
