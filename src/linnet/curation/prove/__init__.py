"""A controlled experiment: does a selection train a better model than chance, at equal hours and equal steps?"""
