"""`python -m kindless`, for where the console script is not on PATH."""

from kindless.cli import main

raise SystemExit(main())
