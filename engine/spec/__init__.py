"""Run specs: loading, validating, and their JSON Schema."""
