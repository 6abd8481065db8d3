"""A model for llmdep, which finds this as `model.py`: `requests` with kept-alive connections, one session a thread."""

import json
import os
import threading
from typing import Any

import requests


class Model:
    """The faulty provider."""

    def __init__(self, args: Any) -> None:  # noqa: ANN401 (llmdep's own)
        self.args = args
        self._url = os.environ["BENCH_API_BASE"] + "/chat/completions"
        self._local = threading.local()

    def call_with_prompt(self, query: str) -> str:
        """The reply in llmdep's form."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
        body = {"model": "faulty", "messages": [{"role": "user", "content": query}], "temperature": 0, "max_tokens": 16}
        reply = self._local.session.post(self._url, json=body, timeout=60)
        content = reply.json()["choices"][0]["message"]["content"] if reply.ok else ""
        return json.dumps({"code": reply.status_code, "content": content, "error": ""})
