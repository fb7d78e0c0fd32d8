"""Tables and the report of finished runs."""
