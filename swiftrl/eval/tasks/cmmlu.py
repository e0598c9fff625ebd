"""Knowledge of 67 subjects, Chinese, four choices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftrl.eval.answers import letter_score
from swiftrl.eval.choices import listed_item
from swiftrl.eval.task import Item, Place, Task

__all__ = ["TASK"]

SUBSETS = (
    "agronomy",
    "anatomy",
    "ancient_chinese",
    "arts",
    "astronomy",
    "business_ethics",
    "chinese_civil_service_exam",
    "chinese_driving_rule",
    "chinese_food_culture",
    "chinese_foreign_policy",
    "chinese_history",
    "chinese_literature",
    "chinese_teacher_qualification",
    "clinical_knowledge",
    "college_actuarial_science",
    "college_education",
    "college_engineering_hydrology",
    "college_law",
    "college_mathematics",
    "college_medical_statistics",
    "college_medicine",
    "computer_science",
    "computer_security",
    "conceptual_physics",
    "construction_project_management",
    "economics",
    "education",
    "electrical_engineering",
    "elementary_chinese",
    "elementary_commonsense",
    "elementary_information_and_technology",
    "elementary_mathematics",
    "ethnology",
    "food_science",
    "genetics",
    "global_facts",
    "high_school_biology",
    "high_school_chemistry",
    "high_school_geography",
    "high_school_mathematics",
    "high_school_physics",
    "high_school_politics",
    "human_sexuality",
    "international_law",
    "journalism",
    "jurisprudence",
    "legal_and_moral_basis",
    "logical",
    "machine_learning",
    "management",
    "marketing",
    "marxist_theory",
    "modern_chinese",
    "nutrition",
    "philosophy",
    "professional_accounting",
    "professional_law",
    "professional_medicine",
    "professional_psychology",
    "public_relations",
    "security_study",
    "sociology",
    "sports_science",
    "traditional_chinese_medicine",
    "virology",
    "world_history",
    "world_religions",
)


def read(row: Mapping[str, Any]) -> Item:
    """Make an item of `Question`, `A` to `D` and `Answer` (a letter)."""
    choices = [row[letter] for letter in "ABCD"]
    return listed_item(str(row["Question"]).strip(), choices, row["Answer"], answer="答案：")


TASK = Task(
    summary="Knowledge of 67 subjects, Chinese, four choices.",
    source="Li et al. 2023, arXiv:2306.09212",
    place=Place("haonan-li/cmmlu", "", SUBSETS, "test", "dev"),
    read=read,
    score=letter_score,
    metric="acc",
    kind="choice",
    few_shot=5,
    between="",
    preamble="以下是单项选择题及其答案。\n\n",
    max_tokens=1024,
)
