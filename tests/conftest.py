"""What pytest must not collect: the broken specs are data of one test, not specs to run."""

collect_ignore_glob = ["broken_specs/*.yaml"]
