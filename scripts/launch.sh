#!/usr/bin/env bash
# Starts `promptkd launch` from any directory.
exec bash "$(dirname "${BASH_SOURCE[0]}")/promptkd.sh" launch "$@"
