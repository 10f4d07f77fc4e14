"""Recordings: folders of Parquet files with what a feed delivered, and how they are read again in the same order."""
