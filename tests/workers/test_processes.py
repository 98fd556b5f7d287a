"""What is told of a process's log."""

from vinefast.workers.launch.processes import log_excerpt


def test_log_excerpts(tmp_path):
    log = tmp_path / "log"
    assert "cannot be read" in log_excerpt(str(log))
    log.write_text("")
    assert "(empty)" in log_excerpt(str(log))
    log.write_text("old\n" + "".join(f"line {n}\n" for n in range(100)))
    excerpt = log_excerpt(str(log), start=4)
    assert "line 0\n" in excerpt and "line 99" in excerpt
    assert "old" not in excerpt and "line 50" not in excerpt
