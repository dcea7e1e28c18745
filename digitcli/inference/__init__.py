"""Models on disk, and how they are run."""
