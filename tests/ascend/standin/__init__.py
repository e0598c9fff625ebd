"""An Ascend stand-in: the real torch-npu wheel on a CANN runtime of our own. See README.md."""
