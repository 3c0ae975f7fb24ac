"""RoleBench on a laptop: records, cleaning, subsets, scorers, runs, judges, reports."""
