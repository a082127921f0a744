"""Metrics, systems to compare, and reports."""
