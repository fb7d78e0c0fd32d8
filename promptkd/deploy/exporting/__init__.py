"""Writers of a finished run in each form that `promptkd export` has, and the check of what was written."""
