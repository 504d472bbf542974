"""Quality of a network: metrics, baselines and the verdict."""
