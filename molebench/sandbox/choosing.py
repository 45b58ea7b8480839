"""Which driver shuts a box: the first that is installed and holds. There is no falling back to none."""

import functools
import os

from molebench.errors import MolebenchError, unknown
from molebench.sandbox.box import Driver
from molebench.sandbox.bwrap import Bubblewrap
from molebench.sandbox.docker import Docker
from molebench.sandbox.selftest import faults

IMAGE = "MOLEBENCH_SANDBOX_IMAGE"  # of docker's containers, where not the official one of this Python
GET = (
    "install one (Debian and Ubuntu: apt-get install bubblewrap; since Ubuntu 23.10 AppArmor forbids it "
    "user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or use a docker engine after "
    "docker pull {image}); "
    "--i-trust-this-code runs it without, and says so in the record"
)


def drivers() -> tuple[Driver, ...]:
    """Every driver, the preferred one first."""
    return Bubblewrap(), Docker(image) if (image := os.environ.get(IMAGE)) else Docker()


def chosen(name: str | None = None) -> Driver:
    """The driver of this name, or the first that holds; MolebenchError where it does not, or none does."""
    known = {driver.name: driver for driver in drivers()}
    if name is not None and name not in known:
        raise unknown("sandbox driver", name, known)
    return first_that_holds(tuple(known.values()) if name is None else (known[name],))


def first_that_holds(some: tuple[Driver, ...]) -> Driver:
    """The first of some drivers that holds."""
    refused = {}
    for driver in some:
        if not (why := wrong(driver)):
            return driver
        refused[driver.name] = why
    image = next((driver.image for driver in some if isinstance(driver, Docker)), Docker().image)
    said = "; ".join(f"{name} is refused: {why}" for name, why in refused.items())
    raise MolebenchError(f"no sandbox to run a submission in: {said}; {GET.format(image=image)}")


@functools.cache  # a second for each process is enough
def wrong(driver: Driver) -> str:
    """Why a driver is not to be used; '' where it holds."""
    return faults(driver)
