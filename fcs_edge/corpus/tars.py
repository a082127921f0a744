"""Members of tars to items, by their places: nothing is unpacked."""

from __future__ import annotations

from collections.abc import Iterator

from fcs_edge.corpus.file_items import fault, file_item, is_sound, open_regular
from fcs_edge.corpus.items import Item
from fcs_edge.corpus.sharding import estimated_seconds
from fcs_edge.corpus.tar_members import Member, TarDamage, tar_members
from fcs_edge.text import printable


def tar_items(path: str, id: str) -> Iterator[Item]:
    """Yield the sounds of a tar, in its order.

    A member whose name has a suffix of sound is an item; its id is the tar's, a slash and its name.
    One that is not stored as it is (a link, a sparse file) or whose name leads out of the tar is a
    row with an error. So is the tar itself where it is damaged or cut: its members before that are
    items still.

    Parameters
    ----------
    path : str
        The tar's absolute path.
    id : str
        Its id.
    """
    whole = file_item(path, id)
    if whole.error is not None:
        yield whole
        return
    try:
        with open_regular(path) as file:
            for member in tar_members(file.fileno(), whole.size):
                if is_sound(member.name):
                    yield _item(whole, member)
    except TarDamage as damage:
        yield file_item(path, id, str(damage))
    except OSError as cause:
        yield file_item(path, id, fault(cause))


def _item(tar: Item, member: Member) -> Item:
    """Return the item of a member."""
    name = member.name
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    error = member.problem
    if name.startswith("/") or ".." in name.split("/"):
        error = error or "its name leads out of the tar"
    name = printable(name)
    there = min(member.size, tar.size - member.start)
    seconds = estimated_seconds(Item("", name, size=there)) if there < member.size else None
    return Item(
        f"{tar.id}/{name}",
        tar.path,
        name,
        member.start,
        member.size,
        tar.mtime_ns,
        error=error,
        seconds=seconds,
    )
