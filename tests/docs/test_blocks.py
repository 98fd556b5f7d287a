"""Blocks of code in documents: all of their Python is compiled, and what does not run says why."""

import pytest

from tests.helpers.markdown import PAGES, blocks_of, program_of

SAMPLE = """\
# Title

<!-- test: setup
x = 1
-->

* An item:

  ```python
  if x:
      y = 2
  ```

<!-- not run: there is no such module here -->

```python
import nowhere
```

<!-- needs: no_such_module -->

```python
import no_such_module
```

<!-- needs: json -->

```python
import json
```

```sh
make
```
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_is_compiled_whether_or_not_it_runs(page):
    for block in blocks_of(page.read_text(encoding="utf-8")):
        if block.language == "python":
            compile(block.code, f"{page.name}, block at line {block.line}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_mark_stands_above_a_block(page):
    text = page.read_text(encoding="utf-8")
    marked = [block for block in blocks_of(text) if block.needs or block.not_run]
    assert text.count("<!-- not run: ") + text.count("<!-- needs: ") == len(marked)


def test_a_program_has_a_page_s_lines():
    lines = program_of(SAMPLE).splitlines()
    expected = {4: "x = 1", 10: "if x:", 11: "    y = 2", 29: "import json"}
    assert {number: line for number, line in enumerate(lines, 1) if line} == expected


def test_a_page_without_python_is_no_program():
    assert program_of("<!-- test: setup\nx = 1\n-->\n\n```sh\nmake\n```\n") == ""
