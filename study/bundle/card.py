"""The data-set card of a bundle: front matter that hubs read, and a page for people."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from study.bundle.layout import Manifest

#: Identifiers that hubs know without being licences.
NO_LICENSE = ("unknown", "other")


def license_url(identifier: str) -> str:
    """Where a licence is written down; the identifier itself where it is none of SPDX's."""
    return identifier if identifier in NO_LICENSE else f"https://spdx.org/licenses/{identifier}"


def license_text(identifier: str) -> bytes:
    """The licence as a file, where the user gave an identifier and no file."""
    if identifier in NO_LICENSE:
        text = "No licence was chosen for these results: ask who made them before you use them.\n"
    else:
        text = f"SPDX-License-Identifier: {identifier}\n\n{license_url(identifier)}.html has it.\n"
    return text.encode()


def write(
    manifest: Manifest,
    *,
    question: str,
    tables: Sequence[str],
    sentences: Sequence[str],
    provenance: Sequence[str],
) -> bytes:
    """The card as Markdown with YAML front matter; labels and text are shown as they are."""
    front = {
        "license": manifest.license.lower(),
        "pretty_name": manifest.study,
        "tags": ["archprior", "architectural-priors", "representational-alignment"],
        "configs": [
            {"config_name": table, "data_files": f"studies/{manifest.study}/{table}.parquet"}
            for table in tables
        ],
    }
    header = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    weights = "with" if manifest.weights else "without"
    parts = [
        f"---\n{header}---\n\n# {manifest.study}\n",
        _plain(question) if question else "A study of what architectures hand over by guidance.",
        "## What came out\n",
        "\n".join(f"- {_plain(sentence)}" for sentence in sentences)
        or "No guided row has a result.",
        "## What is here\n",
        f"Made by archprior {manifest.archprior}, {weights} the weights of its networks. Tables "
        f"are Parquet files in `studies/{manifest.study}/`; the description of each column is in "
        "its file and in `croissant.json`. `archprior import FILE --store STORE` brings the study "
        "into a store, with the ids of its replicates.",
        "## Provenance\n",
        "\n".join(f"- {_plain(line)}" for line in provenance) or "Not known.",
    ]
    return ("\n\n".join(part.rstrip("\n") for part in parts) + "\n").encode()


def _plain(text: str) -> str:
    """Text without the power of markup: as code where it has any."""
    line = " ".join(text.split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|" else char for char in line)
