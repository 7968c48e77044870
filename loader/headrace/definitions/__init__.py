"""Definitions as code: named pages, elements and events, read from YAML and matched over distinct values."""
