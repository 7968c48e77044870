"""Headrace: hourly product-analytics events into the warehouse, merged and ready to query."""

from importlib.metadata import version

__version__ = version("headrace")
