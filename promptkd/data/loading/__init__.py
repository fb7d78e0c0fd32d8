"""From images on disk to batches: seeded views, crops for the device, caches, timing."""
