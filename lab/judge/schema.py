# SPDX-License-Identifier: GPL-2.0-only
"""The JSON Schemas of docs/json.md, and the check of an output against one of them. Needs Debian's python3-jsonschema."""
from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from lab.core.places import TOP

DOCUMENT = TOP / "docs" / "json.md"
Schema = dict[str, Any]


@cache
def schemas() -> dict[str, Schema]:
    """The document's schemas by name."""
    blocks = re.findall(r"^```json-schema\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    found = [json.loads(block) for block in blocks]
    return {schema["$id"]: schema for schema in found}


def violations(name: str, data: object) -> list[str]:
    """An output's violations of a schema: for each the place and the reason."""
    # Only merge and the tests need the package.
    import jsonschema
    resolver = jsonschema.RefResolver(name, schemas()[name], store=schemas())
    validator = jsonschema.Draft202012Validator(schemas()[name], resolver=resolver)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}" for e in validator.iter_errors(data)]
