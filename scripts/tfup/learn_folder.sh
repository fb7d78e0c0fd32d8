#!/usr/bin/env bash
# TFUP, of your own images, without labels: bash scripts/tfup/learn_folder.sh IMAGES CLASSES.txt [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" folder TFUP "$@"
