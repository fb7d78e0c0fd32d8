#!/usr/bin/env bash
# A student of your own images, without labels: [TEACHER=...] bash scripts/promptkd/distill_folder.sh IMAGES CLASSES.txt [SEED ...] [KEY VALUE ...]   (see tools/launch.py)
exec "$(dirname "${BASH_SOURCE[0]}")/../launch.sh" folder PromptKD "$@"
