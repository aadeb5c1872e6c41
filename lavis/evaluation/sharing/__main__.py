"""`python -m lavis.evaluation.sharing`: see export.py."""

import sys

from lavis.evaluation.sharing.export import main

sys.exit(main())
