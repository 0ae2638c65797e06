"""Policies: one module per AWS service, one function per policy."""
