"""Headrace: hourly product-analytics events into the warehouse, merged and ready to query."""
