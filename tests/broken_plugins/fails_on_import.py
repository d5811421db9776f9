"""Cannot be imported."""

raise RuntimeError("the license server is away")
