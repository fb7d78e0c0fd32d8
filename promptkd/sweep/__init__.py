"""Many runs: plans, jobs, the lock of a directory, engines."""
