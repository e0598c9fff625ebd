"""Small Python programs from a sentence and three tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.checking.answers import answer_part
from swiftrl.checking.programs import fenced_blocks, runs_to_its_end
from swiftrl.eval.task import Item, Place, Scored, Task

__all__ = ["TASK"]

END = "[DONE]"


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `text` (`prompt` in the sanitised set), `test_list` and `code`."""
    tests = [str(test) for test in row["test_list"]]
    imports = row.get("test_imports") or row.get("test_setup_code") or ""
    setup = "\n".join(imports) if isinstance(imports, list) else str(imports)
    asked = "\n".join(tests[:3])
    prompt = (
        f"Write a Python program: {row.get('text') or row['prompt']} It must pass these tests:"
        f"\n\n{asked}\n[BEGIN]\n"
    )
    return Item(prompt, f"{row['code']}\n{END}", setup + "\n" + "\n".join(tests))


def score(reply: str, item: Item) -> Scored:
    """Run the program, fenced or up to the end mark, and its tests."""
    blocks = fenced_blocks(answer_part(reply))
    program = blocks[0] if blocks else reply.partition(END)[0]
    return Scored({"pass@1": float(runs_to_its_end(f"{program}\n\n{item.reference}"))}, program)


TASK = Task(
    summary="Small Python programs from a sentence and three tests.",
    source="Austin et al. 2021, arXiv:2108.07732, in words of our own",
    place=Place("google-research-datasets/mbpp", "opencompass/mbpp", ("full",), "test", "prompt"),
    read=read,
    score=score,
    metric="pass@1",
    few_shot=3,
    between="",
    stop=(END,),
    max_tokens=512,
    runs_programs=True,
)
