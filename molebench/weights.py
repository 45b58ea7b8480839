"""Pretrained weights: found or fetched once, converted once to safetensors, named by sha256 in every record.

An extractor says where its weights can come from and how a file of each format is read; this file does the
rest. `weights` is the published ones' word ('imagenet', 'audioset'), a path to a file of the user's, or 'random',
which a record states and a board never ranks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from molebench.errors import MolebenchError
from molebench.rng import torch_stream
from molebench.sources import Source, first_that_answers
from molebench.stages import exclusive, load_arrays, save_arrays
from molebench.types import Array, fingerprint
from molebench.workspace import Workspace, file_fact

State = dict[str, Array]


@runtime_checkable
class Network(Protocol):
    """What is asked of a PyTorch module here, so that a runner of cells without one need not import PyTorch."""

    def state_dict(self) -> Any:
        """Tensors by name."""

    def load_state_dict(self, state_dict: Any, strict: bool = True) -> Any:
        """Takes tensors over."""


Made = TypeVar("Made", bound=Network)


@dataclass(frozen=True)
class Weights:
    """A state dict and where it is from. sha256: over the converted arrays, whatever file they came in."""

    name: str
    source: str
    sha256: str
    state: Mapping[str, Array]

    @property
    def rankable(self) -> bool:
        """False for random weights."""
        return self.source != "random"

    def into(self, network: Made) -> Made:
        """The network with these weights; a name or shape that does not fit is an error."""
        import torch

        if wrong := misfit(self.state, network):
            raise MolebenchError(f"weights of {self.name} from {self.source} do not fit: {wrong}")
        network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in self.state.items()}, strict=False)
        return network


class Unreadable(Exception):
    """A weight file that is cut short, corrupted or of another network."""


@dataclass(frozen=True)
class Recipe:
    """How one extractor gets its weights. files: names looked for in MOLEBENCH_DATA before any download.

    published: the word that asks for these. folders: whether a user's weights may be a folder. kind: of the plug-in
    that they are for.
    """

    name: str
    files: Sequence[str]
    sources: Sequence[Source]
    read: Callable[[Path], State]
    hint: str
    published: str = "imagenet"
    folders: bool = False
    kind: str = "extractor"

    def get(self, weights: str, network: Network, workspace: Workspace) -> Weights:
        """The weights that the parameter `weights` names."""
        if weights == "random":
            state = {k: v.numpy() for k, v in random_state(network).items()}
            return Weights(self.name, "random", _named(state), state)
        if weights != self.published:
            path = Path(weights).expanduser()
            if not (path.is_file() or (self.folders and path.is_dir())):
                raise MolebenchError(f"{self.kind} {self.name}: no weight file {path}; {self.hint}")
            kept = workspace.cache / "weights" / f"{self.name}-{file_fact(path).sha256[:16]}.safetensors"
            if (found := load_arrays(kept)) and not misfit(found[0], network):
                return Weights(self.name, f"file {path.name}", _named(found[0]), found[0])
            return self._converted(path, f"file {path.name}", network, kept)
        kept = workspace.cache / "weights" / f"{self.name}-{self.published}.safetensors"
        with exclusive(kept):
            if (found := load_arrays(kept)) and not misfit(found[0], network):
                return Weights(self.name, found[1], _named(found[0]), found[0])
            return self._first(kept, network, workspace)

    def _first(self, kept: Path, network: Network, workspace: Workspace) -> Weights:
        """The published weights, from the data folder or the first source that answers; kept once converted."""
        for name in self.files:
            if (workspace.data / name).is_file():
                return self._converted(workspace.data / name, f"MOLEBENCH_DATA/{name}", network, kept)
        original = kept.with_suffix(".original")
        what = f"the weights of {self.name}"
        source = first_that_answers(what, self.sources, original, workspace, self.hint)
        try:
            return self._converted(original, source, network, kept)
        finally:
            original.unlink()

    def _converted(self, path: Path, source: str, network: Network, kept: Path) -> Weights:
        """The weights in a file of any format we read; a corrupted file is named, and never kept."""
        try:
            state = self.read(path)
            if wrong := misfit(state, network):
                raise Unreadable(f"{wrong}; is it a {self.name}?")
        except Unreadable as error:
            why = " ".join(str(error).split())[:200]
            raise MolebenchError(f"{self.kind} {self.name}: weights from {source} are unusable: {why}") from error
        save_arrays(kept, state, note=source)
        return Weights(self.name, source, _named(state), state)


def misfit(state: Mapping[str, Array], network: Network) -> str:
    """What in a state dict does not fit a network; '' where all of it does."""
    ours = {k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    if different := sorted(ours.keys() ^ state.keys()):
        return f"{different[0]} is {'missing' if different[0] in ours else 'too much'}"
    wrong = [k for k in ours if tuple(state[k].shape) != ours[k]]
    return f"{wrong[0]} is {state[wrong[0]].shape}, expected {ours[wrong[0]]}" if wrong else ""


def _named(state: Mapping[str, Array]) -> str:
    """The sha256 of a state dict, whatever the order of its entries."""
    return fingerprint(*(state[name] for name in sorted(state)))


def random_state(network: Network) -> dict[str, Any]:
    """He-normal convolutions and identity batch norms from a fixed stream: a stand-in for tests, never ranked."""
    import torch

    rng = torch_stream(0, "random weights")
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if value.dim() > 1:
            fan_in = value[0].numel()
            state[name] = torch.randn(value.shape, generator=rng) * (2.0 / fan_in) ** 0.5
        else:
            state[name] = value.clone()
    return state


def suffix_of(path: Path, magic: Mapping[bytes, str]) -> str:
    """The format of a file by its first bytes, so that a wrong or missing suffix does not matter."""
    with path.open("rb") as handle:
        head = handle.read(8)
    for start, name in magic.items():
        if head.startswith(start):
            return name
    raise Unreadable(f"its first bytes are {head!r}; expected {' or '.join(sorted(set(magic.values())))}")
