"""A package, not a mere folder: avalanche-lib installs a package `tests` of its own, which would be found instead."""
