"""``python -m fcs_edge.cli``."""

from fcs_edge.cli.main import main

main()
