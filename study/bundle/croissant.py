"""The Croissant description of a bundle: its tables and their columns, as JSON-LD.

Croissant 1.0, https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from study.bundle.layout import Listed, Manifest

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_PARQUET = "application/x-parquet"
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataBiases": "cr:dataBiases",
    "dataCollection": "cr:dataCollection",
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "personalSensitiveInformation": "cr:personalSensitiveInformation",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(
    manifest: Manifest, description: str, tables: Mapping[str, pa.Schema], license_url: str
) -> bytes:
    """The description as JSON; `tables` are the schemas of the study's tables, by name."""
    folder = f"studies/{manifest.study}"
    files = {f"{folder}/{name}.parquet": schema for name, schema in tables.items()}
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": manifest.study,
        "description": description,
        "conformsTo": CONFORMS_TO,
        "license": license_url,
        "datePublished": manifest.created,
        "version": "1.0.0",
        "distribution": [_file(path, manifest.files[path]) for path in files],
        "recordSet": [_records(path, schema) for path, schema in files.items()],
    }
    return json.dumps(content, indent=1).encode()


def _file(path: str, listed: Listed) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": _name(path) + ".parquet",
        "name": _name(path) + ".parquet",
        "contentUrl": path,
        "contentSize": f"{listed.size} B",
        "encodingFormat": _PARQUET,
        "sha256": listed.sha256,
    }


def _name(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".parquet")


def _records(path: str, schema: pa.Schema) -> dict[str, Any]:
    table = _name(path)
    return {
        "@type": "cr:RecordSet",
        "@id": table,
        "name": table,
        "field": list(_fields(table, schema)),
    }


def _fields(table: str, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    for column in schema:
        said = (column.metadata or {}).get(b"description", b"").decode()
        yield {
            "@type": "cr:Field",
            "@id": f"{table}/{column.name}",
            "name": column.name,
            "description": said or column.name,
            "dataType": _data_type(column.type),
            "source": {
                "fileObject": {"@id": f"{table}.parquet"},
                "extract": {"column": column.name},
            },
        }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:DateTime" if pa.types.is_timestamp(kind) else "sc:Text"
