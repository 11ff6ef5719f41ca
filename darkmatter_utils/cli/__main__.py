"""``python -m darkmatter_utils.cli``, as the ``darkmatter`` command."""

import sys

from . import main

sys.exit(main())
