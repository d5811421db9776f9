"""The JSON Schema of specs, with the options of every installed plugin, for editors."""

from __future__ import annotations

from typing import Any

from engine.components import Component
from engine.registry import Registry
from engine.spec.model import RunSpec

_KIND_OF = {
    "SourceUse": "source",
    "FeatureUse": "features",
    "SelectorUse": "selector",
    "ModelUse": "model",
    "MetricUse": "metric",
    "WriterUse": "writer",
    "ExecutorUse": "executor",
}
_BY_NAME = {"MetricUse", "ExecutorUse"}
"""Uses that may also be written as a bare name."""


def spec_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a run spec; each `use:` allows exactly its own options."""
    schema = RunSpec.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Engine run spec"
    definitions: dict[str, Any] = schema["$defs"]
    for use, kind in _KIND_OF.items():
        engine_keys = definitions[use]["properties"]
        variants = []
        for name in registry.names(kind):
            entries = registry.components[(kind, name)]
            if len(entries) == 1:
                variants.append(_variant(entries[0].component, engine_keys, definitions))
        names: dict[str, Any] = {"enum": registry.names(kind)}
        definitions[use] = {
            "description": definitions[use].get("description", ""),
            "type": "object",
            "required": ["use"],
            "properties": {"use": names},
            "oneOf": variants or [{"not": {}}],
        }
        if use in _BY_NAME:
            _restrict_names(schema, f"#/$defs/{use}", names)
    return schema


def _variant(
    component: Component, engine_keys: dict[str, Any], definitions: dict[str, Any]
) -> dict[str, Any]:
    """Schema of one component's use: the engine's keys and its own options, nothing else."""
    prefix = f"{component.kind}.{component.name}."
    own = component.params.model_json_schema(ref_template=f"#/$defs/{prefix}{{model}}")
    for name, definition in own.pop("$defs", {}).items():
        definitions[prefix + name] = definition
    properties = {
        **engine_keys,
        **own.get("properties", {}),
        "use": {"const": component.name, "description": component.summary},
    }
    return {
        "title": component.name,
        "description": component.summary,
        "type": "object",
        "properties": properties,
        "required": ["use", *own.get("required", [])],
        "additionalProperties": False,
    }


def _restrict_names(node: Any, reference: str, names: dict[str, Any]) -> None:
    """Where a use may be a bare name, allow only installed names."""
    if isinstance(node, dict):
        options = node.get("anyOf", [])
        if any(isinstance(o, dict) and o.get("$ref") == reference for o in options):
            node["anyOf"] = [names if o == {"type": "string"} else o for o in options]
        for value in node.values():
            _restrict_names(value, reference, names)
    elif isinstance(node, list):
        for value in node:
            _restrict_names(value, reference, names)
