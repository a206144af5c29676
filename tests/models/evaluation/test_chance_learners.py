"""The baselines of chances: those of rows and those of carts, each held to the suite of its kind."""

from chance_conformance import CartLearnerConformance, RowLearnerConformance

from models.families.tabular.gradient_boosting import GradientBoostingBaseline, GradientBoostingCartBaseline
from models.families.tabular.logistic_regression import CartBaseline, LogisticBaseline


class TestLogisticRegression(RowLearnerConformance):
    make = LogisticBaseline


class TestGradientBoosting(RowLearnerConformance):
    make = GradientBoostingBaseline


class TestLogisticRegressionOfCarts(CartLearnerConformance):
    make = CartBaseline


class TestGradientBoostingOfCarts(CartLearnerConformance):
    make = GradientBoostingCartBaseline
