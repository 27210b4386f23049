"""Whether two studies were trained on the same data, task by task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

#: Fingerprints of the data that replicates were trained on, by label of the task and seed; the seed
#: of a replicate that has none is None.
Data = Mapping[str, Mapping[int | None, frozenset[str]]]

_MEANING = "what differs between them may be the data's"


def data_notes(first: Data, second: Data) -> Iterator[str]:
    """A line for each task whose data is not the same in two studies.

    Data are compared at shared seeds, because each seed may have drawn its own; without one they
    are compared where each study has a single data set of the task.
    """
    for task, one in first.items():
        two = second.get(task, {})
        shared = [seed for seed in one if seed in two]
        other = [seed for seed in shared if one[seed] != two[seed]]
        names = [
            sorted(set().union(*(side[seed] for seed in (other if shared else side))))
            for side in (one, two)
        ]
        if len(other) == len(shared) and all(len(each) == 1 for each in names):
            if names[0] != names[1]:
                where = f" ({names[0][0]} in the first, {names[1][0]} in the second)"
                yield f"{task}: the data differ{where}: {_MEANING}"
        elif other:
            where = f" at {len(other)} of {len(shared)} shared seeds"
            yield f"{task}: the data differ{where}: {_MEANING}"
