"""CSV and TSV files: the header, and the types that the first rows have."""

from __future__ import annotations

import io

import pyarrow as pa
from pyarrow import csv

from circuit_artifacts.errors import FormatError
from circuit_artifacts.formats.bounded import BoundedReader
from circuit_artifacts.inspection.listing import Entry, Listing
from circuit_artifacts.remote import Location

__all__ = ["list_table"]

_SAMPLE_BYTES = 1 << 20
_DELIMITERS = ",\t;|"


def list_table(file: Location, stream: BoundedReader) -> Listing:
    """List the columns of a CSV file from its first MiB; the first line gives their names.

    Raises:
        FormatError: not text, or not a table: rows of different length, or one of more than a MiB.
    """
    sample = stream.read(2 * _SAMPLE_BYTES)  # the second half completes the last row of the first
    is_whole = len(sample) <= _SAMPLE_BYTES
    start = sample.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0]
    delimiter = "\t" if file.suffix == ".tsv" else max(_DELIMITERS, key=lambda mark: start.count(mark.encode()))
    try:
        reader = csv.open_csv(
            io.BytesIO(sample),
            read_options=csv.ReadOptions(block_size=_SAMPLE_BYTES, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        )
        batch = next(iter(reader), None)
        entries = [Entry(column.name, "column", str(column.type)) for column in reader.schema]
    except (pa.ArrowException, UnicodeDecodeError) as error:
        problem = "not a table of text in UTF-8"
        raise FormatError(problem, file=file, found=str(error).partition("\n")[0]) from error
    facts = {"delimiter": delimiter, "rows_read": batch.num_rows if batch else 0, "all_rows_read": is_whole}
    return Listing("csv", entries, facts)
