#!/usr/bin/env python3
"""Runs the ClickHouse program out of its shared library: engine.py LIBRARY ARGUMENT...

Stays in the call until the program ends or a signal ends the process. Started by `dev/servers` only.
"""

import ctypes
import sys


def main() -> int:
    library = ctypes.CDLL(sys.argv[1])
    library.chdb_query_cmdline.restype = ctypes.c_void_p
    library.chdb_query_cmdline.argtypes = [ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)]
    library.chdb_result_error.restype = ctypes.c_char_p
    library.chdb_result_error.argtypes = [ctypes.c_void_p]

    arguments = [b"clickhouse"] + [argument.encode() for argument in sys.argv[2:]]
    result = library.chdb_query_cmdline(len(arguments), (ctypes.c_char_p * len(arguments))(*arguments))
    error = library.chdb_result_error(result) if result else b"no result"
    print("the engine ended:", (error or b"without an error").decode(errors="replace"), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
