"""Evaluation of predictions."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .detailed import DetailedClassification
from .evaluator import Classification, EvaluatorBase

__all__ = ["EVALUATOR_REGISTRY", "Classification", "DetailedClassification", "EvaluatorBase", "build_evaluator"]
