"""`python -m molebench`: the same commands as `molebench`."""

from molebench.cli import main

main()
