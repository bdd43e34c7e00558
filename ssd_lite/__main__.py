"""``python -m ssd_lite``: the command line."""

from ssd_lite.cli import main

main()
