"""What comes in and what goes out, as the OpenAPI document describes it."""
