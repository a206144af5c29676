from cartwheel.testing import LearnerConformance
from models.families.rows.base_rate import BaseRateLearner


class TestBaseRate(LearnerConformance):
    learner = BaseRateLearner
    learns = False
