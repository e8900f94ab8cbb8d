"""The search spaces that come with the product; `reference.yaml` explains every key."""
