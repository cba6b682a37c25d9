"""main.py ADDRESS: a Python client with generated stubs against an empty server."""

import sys
import time

import every_type
import faults
import freshness
import lifecycle
import operate
import repeats
import transport
from gate import Gate

gate = Gate(sys.argv[1])
for part in (every_type, lifecycle, freshness, operate, transport, repeats, faults):
    began = time.monotonic()
    print(f"python {part.__name__}", flush=True)
    part.check(gate)
    print(f"  ok, {time.monotonic() - began:.1f} s", flush=True)
