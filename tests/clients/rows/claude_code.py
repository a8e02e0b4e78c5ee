"""Claude Code, without a terminal."""

from clients.client import Client

CLIENTS = (
    Client(
        name="claude-code",
        installer="npm",
        packages=("@anthropic-ai/claude-code@2.1.197",),
        program="node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs",
        dialects=("messages",),
        words=(
            "node", "$client/node_modules/@anthropic-ai/claude-code/cli-wrapper.cjs", "-p", "$prompt", "--model", "$model",
            "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions",
        ),
        env={
            "ANTHROPIC_BASE_URL": "$address",
            "ANTHROPIC_API_KEY": "$key",
            "CLAUDE_CONFIG_DIR": "$home/.claude",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # It would ask again for a whole answer, silently, and be billed twice.
            "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
            "IS_SANDBOX": "1",  # it refuses to skip permissions as root elsewhere
        },
        budget_usd=0.4,
        section="Claude Code",
    ),
)  # fmt: skip
