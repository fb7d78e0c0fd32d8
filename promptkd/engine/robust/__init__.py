"""What a classifier does under attack and on changed images: perturbations, samples of images, measures."""
