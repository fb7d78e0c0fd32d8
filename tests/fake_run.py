"""Stands for train.py in the tests of sweeps: leaves a result, fails, dies or waits, as its arguments say.

    python fake_run.py DIRECTORY RESULT_JSON BEHAVIOUR

Notes every start in DIRECTORY/starts. Imports nothing heavy.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

directory, content, behaviour = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
with (directory / "starts").open("a") as file:
    file.write(f"{os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
starts = len((directory / "starts").read_text().splitlines())

if behaviour == "fail" or (behaviour == "fail-once" and starts == 1):
    print("some words before")
    print("error: no such thing", file=sys.stderr)
    sys.exit(1)
if behaviour == "die" or (behaviour == "die-once" and starts == 1):
    os.kill(os.getpid(), signal.SIGKILL)
if behaviour == "forget":
    sys.exit(0)
if behaviour == "partial":
    (directory / "results.json").write_text(content[:40])
    sys.exit(0)
if behaviour == "wait":
    try:
        while not (directory / "go").exists():
            time.sleep(0.02)
    except KeyboardInterrupt:
        sys.exit(130)
for name in sys.argv[4:]:  # what must be there before this run
    assert (Path(name) / "results.json").is_file(), name
partial = directory / ".results.json.part"
partial.write_text(json.dumps(json.loads(content)))
os.replace(partial, directory / "results.json")
