from cartwheel.testing import LearnerConformance
from models.families.rows.one_feature import OneFeatureLearner


class TestOneFeature(LearnerConformance):
    learner = OneFeatureLearner
