"""The cost of a model call in the real SWE-agent, plain and under a registry, on the same server; the added start-up time; and batches.

    SWE_AGENT_SRC=path/to/SWE-agent SWE_AGENT_VENV=path/to/venv python benchmarks/bench_sweagent.py

The virtual environment has SWE-agent and this project; its own Python runs the measured part. A call is `query` of SWE-agent's model on a
history of 20 messages with three tools: plain, with all that SWE-agent, litellm and the SDK do; and under Paymaster, with a ledger on disk.
Both use one server in a separate process. Rounds take turns and medians are compared, so that a busy machine slows both. Then whole batches
(sweagent_batches.py): a 429 storm, and a hard budget that two processes share. Seven minutes in all.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
START_BAR_S = 0.3

REGISTRY = """model_registry:
  default: primary
  models:
    primary: {{provider: openai, model_id: m-primary, base_url: "{base}", usd_per_1m_input: 1, usd_per_1m_output: 4,
              max_output_tokens: 1000, max_input_tokens: 100000, rpm: 1000000, tpm: 1000000000, capabilities: [function_calling]}}
    fallback: {{provider: openai, model_id: m-fallback, base_url: "{base}", usd_per_1m_input: 1, usd_per_1m_output: 4,
               max_output_tokens: 1000, max_input_tokens: 100000, capabilities: [function_calling]}}
  policies: {{fallback_chain: [primary, fallback], budget_usd_per_run: 100, budget_usd_per_month: 1000, hard_stop_on_budget: true}}
"""

SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CALL = '{"id": "call_1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}'
BODY = (
    '{"id": "x", "object": "chat.completion", "created": 0, "model": "m", '
    '"choices": [{"index": 0, "finish_reason": "tool_calls", "message": '
    '{"role": "assistant", "content": "Looking.", "tool_calls": [' + CALL + ']}}], '
    '"usage": {"prompt_tokens": 3000, "completion_tokens": 50, "total_tokens": 3050}}'
).encode()
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: " + str(len(BODY)).encode() + b"\\r\\n\\r\\n" + BODY


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(ANSWER)


server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


def main() -> int:
    venv, source = os.environ.get("SWE_AGENT_VENV"), os.environ.get("SWE_AGENT_SRC")
    if not venv or not source:
        print("skipped: set SWE_AGENT_SRC to a checkout of SWE-agent and SWE_AGENT_VENV to a virtual environment that has it")
        return 0
    python = Path(venv) / "bin" / "python"
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            base = f"http://127.0.0.1:{server.stdout.readline().strip()}/v1"
            registry = Path(directory) / "registry.yaml"
            registry.write_text(REGISTRY.format(base=base))
            environ = {
                **{
                    name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
                },  # with bytecode caching, as in normal use
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "OPENAI_API_KEY": "sk-none",
                "SWE_AGENT_LOG_STREAM_LEVEL": "ERROR",
                "SWE_AGENT_CONFIG_DIR": f"{source}/config",
                "SWE_AGENT_TOOLS_DIR": f"{source}/tools",
                "SWE_AGENT_TRAJECTORY_DIR": directory,
            }
            args = [str(python), str(HERE / "sweagent_measured.py"), base, str(registry), directory]
            found = subprocess.run(args, env=environ, stdout=subprocess.PIPE, text=True, check=True, cwd=directory)
        finally:
            server.terminate()
    figures = json.loads(found.stdout.splitlines()[-1])
    print(f"a call in plain SWE-agent        {figures['plain_ms']:6.2f} ms, {figures['plain_cpu_ms']:6.2f} ms of CPU")
    print(f"the same under a registry        {figures['ours_ms']:6.2f} ms, {figures['ours_cpu_ms']:6.2f} ms of CPU")
    ratio = figures["ours_ms"] / figures["plain_ms"]
    print(f"ratio                            {ratio:6.2f}   (bar: not above 1)")
    print(f"to start plain SWE-agent         {figures['plain_start_s']:6.2f} s")
    cpu_s = figures["added_start_cpu_s"]
    print(f"a registry adds to that          {figures['added_start_s']:6.2f} s, {cpu_s:6.2f} s of CPU (bar: under {START_BAR_S} s of CPU)")
    batches = subprocess.run([sys.executable, str(HERE / "sweagent_batches.py")], check=False).returncode
    return 0 if ratio <= 1 and cpu_s < START_BAR_S and batches == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
