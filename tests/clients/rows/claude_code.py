"""Claude Code, without a terminal."""

from clients.client import SCHEMA, Client
from clients.recipes import recipe

FLAGS = '--output-format stream-json --verbose --dangerously-skip-permissions "$${SCHEMA[@]}"'
START = """\
# `claude` itself is missing where npm runs no scripts of packages.
claude() { node $client/node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs "$$@"; }
if [ $task = structured ]; then SCHEMA=(--json-schema "$$(cat schema.json)"); fi
. ./recipe.sh
"""

CLIENTS = (
    Client(
        name="claude-code",
        installer="npm",
        packages=("@anthropic-ai/claude-code@2.1.197",),
        program="node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs",
        dialects=("messages",),
        words=("bash", "-c", START),
        tasks=("job", "structured"),
        env={
            "PROMPT": "$prompt",
            "CLAUDE_CONFIG_DIR": "$home/.claude",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # It would ask again for a whole answer, silently, and be billed twice.
            "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
            "IS_SANDBOX": "1",  # it refuses to skip permissions as root elsewhere
        },
        files={"schema.json": SCHEMA, "recipe.sh": recipe("Claude Code", "sh").replace('"Hi"', f'"$$PROMPT" {FLAGS}')},
        budget_usd=0.4,
        section="Claude Code",
        more_tests=("test_claude_code.py", "test_claude_code_cache.py"),
    ),
)
