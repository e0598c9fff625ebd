"""Every test: no network, one thread a process (tiny models run slower on several)."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")
