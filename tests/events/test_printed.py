"""What a call has printed, in the files of slots."""

from vinefast.events.printed import end_of_output

MARK = "=== 2026-11-28 18:34:25.{} simulate, call {} ===\n"


def test_the_last_try_in_whatever_file(tmp_path):
    output = tmp_path / "[output]" / "output"
    output.mkdir(parents=True)
    first = f"before\n{MARK.format('100', 7)}of seven\n=== mine ===\n{MARK.format('150', 17)}of seventeen\n"
    (output / "a.older.log").write_text(first)
    again = MARK.format("200", "7, lost 1 times before")
    (output / "b.log").write_bytes(again.encode() + b"again \xff")
    (output / "c.log").write_text("")
    (output / "d.txt").write_text(MARK.format("300", 7) + "of nobody")
    directory = str(tmp_path / "[output]")
    assert end_of_output(directory, 7) == "again \ufffd"
    assert end_of_output(directory, 17) == "of seventeen\n"
    assert end_of_output(directory, 1) == end_of_output(str(tmp_path), 7) == ""
    (output / "b.log").unlink()
    assert end_of_output(directory, 7) == "of seven\n=== mine ===\n"


def test_it_is_the_end(tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "a.log").write_text(MARK.format("100", 7) + "x" * 10_000 + "y")
    assert end_of_output(str(tmp_path), 7) == "x" * 4095 + "y"
