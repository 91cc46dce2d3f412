"""A client: has the server that madrun names generate a text, or does what its arguments say.

generate.py [PATH [TEXT]]: POST to /generate, or GET another path; then it prints the answer.
"""

import os
import sys
import urllib.request

path = sys.argv[1] if len(sys.argv) > 1 else "/generate"
body = (
    b'{"text": "hello", "sampling_params": {"max_new_tokens": 1}}' if path == "/generate" else None
)
request = urllib.request.Request(os.environ["MADRUN_SERVER_URL"] + path, body)
request.add_header("Content-Type", "application/json")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(request, timeout=30).read().decode(), flush=True)
