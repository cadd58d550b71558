"""Fetches the data sets that are not part of distributed_ml, from the network or from a local copy.

Only ``src/experiments/fetch_data.py`` calls this; runs never do.
"""

import os
import ssl
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dml.data.catalogue import DATASETS
from dml.data.decode import Origin, quiet
from dml.data.image_files import read_image_folder
from dml.data.image_tables import images_of_tables
from dml.data.images import Images, write_images
from dml.data.pairs import Pairs, pairs_of_tables, write_pairs
from dml.data.source import HubImages, HubPairs
from dml.data.table_files import datasets_library, tables_in
from dml.errors import ArgumentError, InputError
from dml.files import FOLDER, what_is_at

SECONDS = 10.0
"""The time that the hub has to answer before it counts as out of reach."""


class NoNetworkError(RuntimeError):
    """A data set could not be fetched over the network."""


def fetch_dataset(name: str, data_dir: Path, local: Path | None = None) -> Images | Pairs:
    """Fetches a data set and keeps it in ``data_dir``, where it replaces an earlier copy.

    Args:
        name: a data set of the hub.
        data_dir: the folder of the data sets.
        local: a copy on this machine that is used instead of the network.

    Raises:
        NoNetworkError: the hub cannot be reached, or does not have the data set.
        InputError: the local copy does not exist, is another data set, or is damaged; or the folder cannot
            be written.
    """
    found, origin = (
        (from_hub(name) if local is None else from_local(name, local)),
        str(local or _hub(name).id),
    )
    try:
        if isinstance(found, Pairs):
            write_pairs(data_dir / name, found, origin)
        else:
            write_images(data_dir / name, found, origin)
    except OSError as error:
        raise InputError("data_dir", data_dir, f"cannot be written ({error.strerror or error})") from None
    return found


def from_hub(name: str) -> Images | Pairs:
    """A data set from the network.

    Raises:
        NoNetworkError: the hub cannot be reached, or does not have the data set.
    """
    hub, origin = _hub(name), Origin("NAME", name, ArgumentError)
    obstacle = _obstacle(hub)
    try:
        # Without a network, the library finds what it has fetched before, but not that there is none: it
        # would try for half a minute, and say so six times.
        with quiet():
            found = datasets_library(offline=obstacle is not None).load_dataset(hub.id)
    except InputError:
        raise
    except Exception as error:
        # The libraries below raise errors of a dozen families if the network is missing.
        why = obstacle or (str(error).splitlines() or [type(error).__name__])[0]
        raise NoNetworkError(f"{name} cannot be fetched from the hub ({hub.id}): {why}") from None
    tables = {own: found[split] for own, split in hub.splits.items()}
    if isinstance(hub, HubPairs):
        return pairs_of_tables(tables, origin, hub)
    return _fitting(name, images_of_tables(tables, origin, hub), origin, hub)


def _obstacle(hub: HubImages | HubPairs) -> str | None:
    """Why the hub cannot be reached, in words; None if it answers, whatever it says."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        with urlopen(Request(f"{endpoint}/api/datasets/{hub.id}", method="HEAD"), timeout=SECONDS):
            return None
    except HTTPError:
        return None
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, ssl.SSLError):
            # The library may know certificates that Python does not.
            return None
        return f"{endpoint} cannot be reached ({getattr(reason, 'strerror', None) or reason})"


def from_local(name: str, local: Path) -> Images | Pairs:
    """A data set from a local copy: a folder of parquet or arrow files or of images, or the hub's cache.

    Raises:
        InputError: the copy does not exist, is another data set, or is damaged.
    """
    path = local.expanduser().absolute()
    origin = Origin("source", path)
    found = what_is_at(path)
    if found != FOLDER:
        raise origin.error(f"{found}; give the folder that holds the data set")
    hub = _hub(name)
    inside = _inside_cache(path, hub)
    if isinstance(hub, HubImages):
        return _fitting(name, read_image_folder(inside, origin, hub=hub), origin, hub)
    with tables_in(inside, origin, hub.splits) as tables:
        if tables is None:
            raise origin.error(
                f"{inside} holds no {' and no '.join(f'{s}*.parquet' for s in hub.splits.values())}"
            )
        return pairs_of_tables(tables, origin, hub)


def _inside_cache(path: Path, hub: HubImages | HubPairs) -> Path:
    """The folder of a data set within a cache of the hub; the path itself if it is not such a cache."""
    owner, repository = hub.id.split("/")
    for inside in (f"datasets--{owner}--{repository}", f"{owner}___{repository}"):
        cached = [p for p in (path / inside, *path.glob(f"*/{inside}")) if p.is_dir()]
        if cached:
            snapshots = sorted(cached[0].glob("snapshots/*"), key=lambda p: p.stat().st_mtime)
            return snapshots[-1] if snapshots else cached[0]
    return path


def _fitting(name: str, images: Images, origin: Origin, hub: HubImages) -> Images:
    """The images, with a name for each label.

    Raises:
        InputError: they are another data set.
    """
    shape = images.train_x.shape[1:]
    if shape != hub.shape or len(images.classes) > hub.labels:
        found, wanted = (" x ".join(map(str, s)) for s in (shape, hub.shape))
        raise origin.error(
            f"holds images of {found} in {len(images.classes)} classes; {name} has {wanted} in {hub.labels}"
        )
    more = map(str, range(len(images.classes), hub.labels))
    return Images(images.train_x, images.train_y, images.test_x, images.test_y, (*images.classes, *more))


def _hub(name: str) -> HubImages | HubPairs:
    hub = DATASETS[name].hub
    assert hub is not None, f"{name} is not fetched from anywhere"
    return hub
