"""The dashboard: an API over ``qrie_summary`` and the indexes, and the page that shows it."""
