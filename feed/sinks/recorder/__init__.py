"""Writes what a feed delivers into a folder of Parquet files."""
