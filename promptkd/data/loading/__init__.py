"""Loading of images: seeded views, crops for the device, decoded images, timing, the number of workers."""
