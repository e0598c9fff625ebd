"""Progress lines."""

from swiftrl.core.log import Progress


def test_eta_counts_this_run_only():
    """Resumed at 50 of 100, 10 more in 20 s: 40 left at 2 s each = 80 s."""
    progress = Progress("training", 100, start=50)
    progress.done = 60
    assert progress.line(20.0, "loss 0.5") == "training 60/100 [00:20, ETA 01:20] loss 0.5"


def test_unknown_total_has_no_eta():
    progress = Progress("reading", None)
    progress.done = 7
    assert progress.line(3661.0) == "reading 7 [1:01:01]"


def test_lines_go_out_at_intervals(capsys):
    progress = Progress("x", 3, every_s=0.0)
    for done in (1, 2, 3):
        progress.update(done)
    assert capsys.readouterr().err.count("\n") == 3
