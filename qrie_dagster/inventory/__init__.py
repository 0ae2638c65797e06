"""Inventory: what there is in AWS."""
