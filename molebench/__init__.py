"""molebench: attacks, victims and defenses crossed on equal terms, with honest uncertainty.

    import molebench
    record = molebench.run(molebench.Cell(attack="feature_collision", victim="al_resnet50"))

The names below are stable; everything else may move.
"""

from pathlib import Path

__version__ = "0.1.0"
__all__ = ["Cell", "__version__", "load_records", "run"]

# In a checkout the plug-in folders stand beside this package, not inside it: setup.cfg maps them
# into it for a wheel, and this line does the same for a bare clone.
if (Path(__file__).parents[1] / "setup.cfg").is_file():
    __path__.append(str(Path(__file__).parents[1]))


def __getattr__(name: str) -> object:
    """The public functions, imported on first use so that `import molebench` stays light."""
    if name == "Cell":
        from molebench.grid import Cell

        return Cell
    if name == "run":
        from molebench.runner import run

        return run
    if name == "load_records":
        from molebench.store import load_records

        return load_records
    raise AttributeError(f"module 'molebench' has no attribute {name!r}")
