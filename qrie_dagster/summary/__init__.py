"""Summary: the numbers people see, computed once by scans and read by everything else."""
