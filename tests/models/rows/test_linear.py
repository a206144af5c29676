from cartwheel.testing import LearnerConformance
from models.families.rows.linear import LogisticRegressionLearner, PoissonRegressionLearner


class TestLogisticRegression(LearnerConformance):
    learner = LogisticRegressionLearner
    linear = True


class TestPoissonRegression(LearnerConformance):
    learner = PoissonRegressionLearner
