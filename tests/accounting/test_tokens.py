import base64
import copy
import json
import struct
import threading
from collections import OrderedDict
from types import MappingProxyType

import pytest
import toktok
from hypothesis import given, settings
from hypothesis import strategies as st

from paymaster.accounting.tokens.content import compact_json, weigh_message
from paymaster.accounting.tokens.counter import ANY, BYTES, TokenCounter, load_encoding, tokenizer_for
from paymaster.accounting.tokens.images import Crops, Patches, Tiles, audio_tokens, image_size
from paymaster.errors import RequestInvalid

GPT_4O = tokenizer_for("openai", "gpt-4o")
GPT_4 = tokenizer_for("openai", "gpt-4")
CLAUDE = tokenizer_for("anthropic", "claude-sonnet-4-5")
GEMINI = tokenizer_for("google", "gemini-2.5-pro")
FAMILIES = (GPT_4O, GPT_4, CLAUDE, GEMINI, tokenizer_for("deepseek", "deepseek-chat"), BYTES)

TOOL = {
    "type": "function",
    "function": {
        "name": "bash",
        "description": "Run a command.",
        "parameters": {"type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]},
    },
}


def one_by_one(text: str) -> int:
    """A stand-in vocabulary in which every character is a token; like the real one it refuses lone surrogates."""
    text.encode()
    return len(text)


@pytest.fixture(scope="module")
def counter():
    return TokenCounter()


@pytest.fixture
def quick():
    return TokenCounter(load=lambda _name: one_by_one)


def exact(text: str, encoding: str = "o200k_base") -> int:
    return toktok.batch_count([text], encoding, 1)[0]


def text_tokens(quick: TokenCounter, message, tokenizer=GPT_4O) -> int:
    """What a message costs beyond an empty one of the same role."""
    return quick.count([message], None, tokenizer).tokens - quick.count([{"role": message["role"]}], None, tokenizer).tokens


def part(**fields):
    return {"role": "user", "content": [fields]}


# --------------------------------------------------------------------------------------------------------- plain chats


def test_a_chat_costs_its_texts_three_per_message_and_three_per_request(counter):
    messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": "Say hello to the world."}]
    expected = sum(3 + exact(m["role"]) + exact(m["content"]) for m in messages) + 3
    assert counter.count(messages, None, GPT_4O).tokens == expected
    assert counter.count(messages, [], GPT_4O).exact


def test_older_models_are_counted_with_their_own_vocabulary(counter):
    text = "Ein längerer Satz über Überraschungen."
    messages = [{"role": "user", "content": text}]
    assert counter.count(messages, None, GPT_4).tokens == 3 + 3 + exact("user", "cl100k_base") + exact(text, "cl100k_base")


def test_a_name_costs_one_token_more_than_its_text(quick):
    assert text_tokens(quick, {"role": "user", "name": "ada"}) == 3 + 1


def test_tools_cost_their_compact_json_and_sixteen(counter):
    messages = [{"role": "user", "content": "ls"}]
    without = counter.count(messages, None, GPT_4O).tokens
    assert counter.count(messages, [TOOL], GPT_4O).tokens == without + exact(compact_json([TOOL])) + 16


def test_claudes_hidden_tool_prompt_is_counted(quick):
    messages = [{"role": "user", "content": "ls"}]
    added = quick.count(messages, [TOOL], CLAUDE).tokens - quick.count(messages, None, CLAUDE).tokens
    assert added >= 530 + len(compact_json([TOOL]))


def test_an_empty_conversation_costs_one_request(quick):
    assert quick.count([], None, GPT_4O).tokens == 3


# -------------------------------------------------------------------------------------------------- what messages hold


@pytest.mark.parametrize(
    ("message", "tokens"),
    [
        ({"role": "assistant", "content": None}, 0),
        ({"role": "assistant", "content": ""}, 0),
        ({"role": "assistant", "refusal": "no"}, 2),
        ({"role": "assistant", "reasoning_content": "hmm"}, 3),
        ({"role": "assistant", "content": "a", "cache_control": {"type": "ephemeral"}}, 1),
        ({"role": "tool", "tool_call_id": "call_1", "content": "ok"}, 6 + 12 + 2),
        ({"role": "user", "content": ["ab", {"type": "text", "text": "cd", "cache_control": {"type": "ephemeral"}}]}, 4),
        ({"role": "user", "content": {"type": "text", "text": "abc"}}, 3),
        ({"role": "user", "content": 7}, 1),
        ({"role": "user", "mood": "ab"}, len('{"mood":"ab"}')),
        ({"role": "user", "name": 5}, len('{"name":5}')),
        ({"role": "user", "tool_calls": "?"}, len('{"tool_calls":"?"}')),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, 12 + 3),
        ({"role": "assistant", "tool_calls": [{"id": "i", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}, 12 + 4),
        ({"role": "assistant", "tool_calls": ({"id": None, "function": {"name": "f", "arguments": "{}"}},)}, 12 + 3),
        ({"role": "assistant", "tool_calls": [{"custom": {"input": "x"}}]}, 12 + len('{"custom":{"input":"x"}}')),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}", "x": 1}}]},
            12 + len('{"function":{"name":"f","arguments":"{}","x":1}}'),
        ),
        (part(type="thinking", thinking="hmm", signature="c2ln"), 3 + len('{"signature":"c2ln"}')),
        (part(type="redacted_thinking", data="xx"), len('{"type":"redacted_thinking","data":"xx"}')),
        (part(type="tool_use", id="i", name="f", input={"a": 1}), 12 + 1 + 1 + len('{"a":1}')),
        (
            part(type="tool_result", tool_use_id="i", content=[{"type": "text", "text": "ok"}], is_error=True),
            12 + 3 + len('{"is_error":true}'),
        ),
        (part(type="tool_result", tool_use_id="i"), 12 + 1),
        (part(type="text", text=["odd"]), len('{"text":["odd"]}')),
        (part(type="hologram", data="zz"), len('{"type":"hologram","data":"zz"}')),
        (part(text="untyped"), len('{"text":"untyped"}')),
        (part(type="document", source={"type": "text", "data": "abc"}), 3),
    ],
)
def test_each_kind_of_content_costs_its_text_or_its_bytes(quick, message, tokens):
    assert text_tokens(quick, message) == tokens


def test_a_role_that_is_no_text_is_counted_as_json(quick):
    assert quick.count([{"role": 5}], None, GPT_4O).tokens == 3 + 3 + len('{"role":5}')


@pytest.mark.parametrize("kind", ["file", "input_file", "document", "video", "video_url", "input_video", "input_audio"])
def test_kinds_of_parts_without_a_bound_are_named(quick, kind):
    counted = quick.count([part(type=kind), part(type=kind)], None, GPT_4O)
    assert counted.unbounded == (kind,)
    assert not counted.exact


def test_a_lone_surrogate_is_counted_as_its_replacement(counter):
    messages = [{"role": "user", "content": "a\ud800b"}]
    assert counter.count(messages, None, GPT_4O).tokens == counter.count([{"role": "user", "content": "a\ufffdb"}], None, GPT_4O).tokens
    assert counter.byte_bound(messages) > 0


# -------------------------------------------------------------------------------------------------------------- images


def png(width: int, height: int) -> str:
    return address("png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(5))


def jpeg(width: int, height: int, *, before: bytes = b"") -> bytes:
    return b"\xff\xd8" + before + b"\xff\xc0" + struct.pack(">HBHH", 11, 8, height, width) + bytes(8)


def webp(chunk: bytes, body: bytes) -> bytes:
    return b"RIFF" + bytes(4) + b"WEBP" + chunk + bytes(4) + body + bytes(16)


def address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("url", "size"),
    [
        (png(640, 480), (640, 480)),
        (png(640, 480).partition(",")[2], (640, 480)),
        (png(0, 480), None),
        (address("gif", b"GIF89a" + struct.pack("<HH", 320, 200)), (320, 200)),
        (address("jpeg", jpeg(800, 600)), (800, 600)),
        (address("jpeg", jpeg(800, 600, before=b"\xff\xe0\x00\x06abcd" + b"\xff\xff\xe1\x00\x02" + b"\xff\xc4\x00\x02")), (800, 600)),
        (address("jpeg", b"\xff\xd8\xff\xe0\xff\xff" + bytes(40)), None),
        (address("jpeg", b"\xff\xd8" + bytes(40)), None),
        (address("webp", webp(b"VP8X", bytes(4) + b"\x7f\x02\x00" + b"\xdf\x01\x00")), (640, 480)),
        (address("webp", webp(b"VP8L", b"\x2f" + struct.pack("<I", 639 | 479 << 14))), (640, 480)),
        (address("webp", webp(b"VP8 ", bytes(6) + struct.pack("<HH", 640 | 1 << 14, 480))), (640, 480)),
        (address("bmp", b"BM" + bytes(40)), None),
        ("data:image/png;base64,abcde", None),
        ("https://example.org/ü.png", None),
        ("", None),
    ],
)
def test_sizes_are_read_from_the_head_of_an_image(url, size):
    assert image_size(url) == size


@pytest.mark.parametrize(
    ("rule", "size", "detail", "tokens"),
    [
        # OpenAI's own examples, then its worst case.
        (Tiles(85, 170), (1024, 1024), "high", 765),
        (Tiles(85, 170), (2048, 4096), "high", 1105),
        (Tiles(85, 170), (4096, 8192), "low", 85),
        (Tiles(85, 170), None, "auto", 1445),
        (Tiles(2833, 5667), (512, 768), "", 2833 + 2 * 5667),
        (Patches(32, 1536), (1024, 1024), "", 1024),
        (Patches(32, 1536, percent=162), (1800, 2400), "", 2489),
        (Patches(32, 1536), None, "", 1536),
        (Patches(14, 16_384, least=2_048), (10, 10), "", 2_048),
        (Crops(), (384, 384), "", 258),
        (Crops(), (960, 540), "", 258 * 6),
        (Crops(), (6144, 6144), "", 258 * 16),
        (Crops(), None, "", 258 * 26),
    ],
)
def test_an_image_costs_as_much_as_the_published_formula_says(rule, size, detail, tokens):
    assert rule.tokens(size, detail) == tokens


@pytest.mark.parametrize("name", ["title", "context"])
def test_all_that_is_said_of_a_document_is_counted(name):
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}, name: "word " * 500}
    assert TokenCounter().count([{"role": "user", "content": [document]}], (), ANY).tokens > 2_500


@pytest.mark.parametrize(
    ("kind", "inner", "unbounded"),
    [
        ("web_fetch_tool_result", {"type": "document", "source": {"type": "base64", "data": "JV"}}, "document"),
        ("mcp_tool_result", {"type": "image", "source": {"type": "url", "url": "https://x.example"}}, None),
        ("computer_call_output", {"type": "computer_screenshot", "file_id": "f"}, None),
    ],
)
def test_media_within_a_part_that_nobody_knows_counts_as_media(kind, inner, unbounded):
    counter = TokenCounter()
    for part in ({"type": kind, "output": inner}, {"type": kind, "content": [{"content": inner}]}):
        count = counter.count([{"role": "user", "content": [part]}], (), ANY)
        assert count.unbounded == ((unbounded,) if unbounded else ())
        assert unbounded or count.tokens > ANY.images.tokens(None, "")


@given(st.tuples(st.integers(1, 20_000) | st.integers(1, 2**32 - 1), st.integers(1, 20_000) | st.integers(1, 2**32 - 1)))
@settings(max_examples=200, deadline=None)
def test_no_known_size_costs_more_than_the_unknown_one(size):
    for rule in (Tiles(85, 170), Patches(32, 1536), Patches(14, 16_384, 2_048), Crops()):
        assert 0 < rule.tokens(size, "high") <= rule.tokens(None, "high")


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"type": "image_url", "image_url": {"url": png(1024, 1024)}}, 765),
        ({"type": "image_url", "image_url": {"url": png(1024, 1024), "detail": "low"}}, 85),
        ({"type": "image_url", "image_url": {"url": "https://example.org/x.png"}, "detail": "low"}, 85),
        ({"type": "image_url", "image_url": {"url": "https://example.org/x.png", "detail": 3}}, 1445),
        ({"type": "input_image", "image_url": png(512, 512), "detail": "high"}, 255),
        ({"type": "image", "source": {"type": "base64", "data": png(512, 512).partition(",")[2]}}, 255),
        ({"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}}, 1445),
    ],
)
def test_images_are_found_in_every_shape(quick, fields, tokens):
    assert text_tokens(quick, part(**fields)) == tokens


def test_the_bill_that_a_known_counter_missed_is_covered(counter):
    # gpt-4o-mini billed 19,842 tokens for one picture of three tiles and a short question.
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://x"}}]}
    ]
    assert counter.count(messages, None, tokenizer_for("openai", "gpt-4o-mini")).tokens >= 19_842


def test_the_guess_for_an_image_of_unknown_size_is_below_its_bound(quick):
    counted = quick.count([part(type="image_url", image_url={"url": "https://x"})], None, GPT_4O)
    assert counted.likely_tokens < counted.tokens
    assert not counted.exact


def test_sound_is_counted_by_its_bytes(quick):
    data = base64.b64encode(bytes(3000)).decode()
    assert text_tokens(quick, part(type="input_audio", input_audio={"data": data, "format": "mp3"})) == audio_tokens(data) == 201
    assert text_tokens(quick, part(type="audio", source={"data": data})) == 201


# ------------------------------------------------------------------------------------------------------------ families


@pytest.mark.parametrize(
    ("provider", "model_id", "name"),
    [
        ("openai", "gpt-4o", "o200k_base"),
        ("openai", "gpt-4o-mini-2024-07-18", "o200k_base"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "o200k_base"),
        ("openai", "gpt-4.1-nano", "o200k_base"),
        ("openai", "gpt-5", "o200k_base"),
        ("openai", "gpt-5.6-pro", "o200k_base"),
        ("openai", "o1", "o200k_base"),
        ("openai", "o3-mini", "o200k_base"),
        ("openai", "o4-mini", "o200k_base"),
        ("azure", "gpt-35-turbo", "cl100k_base"),
        ("openai", "gpt-4-turbo", "cl100k_base"),
        ("openai", "text-embedding-3-small", "cl100k_base"),
        ("openrouter", "openai/gpt-4o", "o200k_base"),
        ("groq", "openai/gpt-oss-120b", "gpt-oss"),
        ("openai", "gpt-9", "any"),
        ("azure", "my-deployment", "any"),
        ("google", "gemini-2.5-pro", "gemini-2"),
        ("vertex", "gemini-3.1-pro-preview", "gemini-3"),
        ("google", "gemini-pro-latest", "gemini-3"),
        ("ollama", "gemma3:27b", "gemma"),
        ("mistral", "mistral-large-2512", "mistral"),
        ("mistral", "mistral-large-2411", "bytes"),
        ("together", "mistralai/Mixtral-8x7B-Instruct-v0.1", "bytes"),
        ("mistral", "devstral-small-latest", "mistral"),
        ("deepseek", "deepseek-chat", "deepseek"),
        ("together", "deepseek-ai/DeepSeek-V3.1", "deepseek"),
        ("bedrock", "us.deepseek.r1-v1:0", "bytes"),
        ("groq", "deepseek-r1-distill-llama-70b", "bytes"),
        ("ollama", "deepseek-r1:8b", "bytes"),
        ("openrouter", "qwen/qwen3-coder", "qwen"),
        ("together", "moonshotai/Kimi-K2-Instruct", "kimi"),
        ("fireworks", "accounts/fireworks/models/llama-v3p1-8b-instruct", "llama-3"),
        ("bedrock", "us.meta.llama3-1-8b-instruct-v1:0", "llama-3"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "llama-3"),
        ("ollama", "llama2", "bytes"),
        ("llamacpp", "SmolLM2-135M-Instruct", "smollm2"),
        ("ollama", "smollm2:1.7b", "smollm2"),
        ("llamacpp", "SmolLM3-3B", "bytes"),
        ("xai", "grok-4.5", "bytes"),
        ("anthropic", "claude-3-5-sonnet-20241022", "claude-3"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-3"),
        ("anthropic", "claude-opus-4-6", "claude-3"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "claude-3"),
        ("vertex", "claude-opus-4-5@20251101", "claude-3"),
        ("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-3"),
        ("anthropic", "claude-opus-4-7", "claude-4.7"),
        ("anthropic", "claude-opus-4-8", "claude-4.7"),
        ("anthropic", "claude-haiku-5-5", "claude-4.7"),
        ("anthropic", "claude-2.1", "claude-4.7"),
        ("anthropic", "claude-latest", "claude-4.7"),
        ("vllm", "my-own-model", "bytes"),
    ],
)
def test_a_model_is_counted_by_its_family_and_an_unknown_one_by_bytes(provider, model_id, name):
    assert tokenizer_for(provider, model_id).name == name


def test_only_a_models_own_vocabulary_is_exact():
    assert GPT_4O.exact
    assert not CLAUDE.exact
    assert not BYTES.exact


@pytest.mark.parametrize("text", [" " * 4000, "-" * 4000, "8675309" * 300, "ключ " * 200, "नमस्ते " * 200, "\n" * 900])
def test_surcharges_cover_text_that_only_one_vocabulary_packs_tightly(counter, text):
    messages = [{"role": "user", "content": text}]
    scaled, own = counter.count(messages, None, CLAUDE), counter.count(messages, None, GPT_4O)
    bound = counter.count(messages, None, BYTES)
    assert own.tokens * 1.5 < scaled.tokens <= bound.tokens
    assert scaled.likely_tokens <= scaled.tokens


def test_a_family_without_surcharges_is_its_margin_alone(counter):
    messages = [{"role": "user", "content": "All of this is plain English text, twelve words in all."}]
    tokens = exact("user") + 1  # 1.5 times 1, rounded up
    tokens += -(-exact(messages[0]["content"]) * 3 // 2)
    assert counter.count(messages, None, tokenizer_for("google", "gemma-3-27b-it")).tokens == 64 + 6 + tokens


# ------------------------------------------------------------------------------------------------------ upper bounds

texts = st.text(max_size=300) | st.text(alphabet=" \n\tab-=0129éж中🧠", max_size=600)


@given(texts)
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("tokenizer", [GPT_4O, GPT_4], ids=["o200k", "cl100k"])
def test_bytes_are_never_fewer_than_tokens(counter, tokenizer, text):
    messages = [{"role": "user", "content": text}]
    assert counter.byte_bound(messages, [TOOL]) >= counter.count(messages, [TOOL], tokenizer).tokens


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-2, 2) | texts, lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
parts = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, texts),
    st.builds(lambda t: {"type": "thinking", "thinking": t, "signature": "c2ln"}, texts),
    st.builds(lambda v: {"type": "odd", "value": v}, values),
    st.just({"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}),
)
calls = st.builds(lambda t: {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": t}}, texts)
messages_of_any_kind = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "tool"]), "content": texts | st.none() | st.lists(parts, max_size=3)},
    optional={"tool_calls": st.lists(calls, max_size=2), "name": texts, "tool_call_id": texts, "extra": values},
)


@given(st.lists(messages_of_any_kind, max_size=4), messages_of_any_kind, st.sampled_from(FAMILIES))
@settings(max_examples=200, deadline=None)
def test_one_more_message_never_costs_less_and_bytes_bound_every_family(counter, history, message, tokenizer):
    before, after = counter.count(history, [TOOL], tokenizer), counter.count([*history, message], [TOOL], tokenizer)
    assert after.tokens > before.tokens
    assert after.likely_tokens <= after.tokens <= counter.byte_bound([*history, message], [TOOL])


# ----------------------------------------------------------------------------------------------------------- the memory


@given(messages_of_any_kind, messages_of_any_kind, st.sampled_from(FAMILIES))
@settings(max_examples=200, deadline=None)
def test_a_message_changed_in_place_is_counted_anew(counter, message, other, tokenizer):
    message = copy.deepcopy(message)
    counter.count([message], [TOOL], tokenizer)
    message.clear()
    message.update(other)
    fresh = TokenCounter(load=counter._encoding)
    assert counter.count([message], [TOOL], tokenizer) == fresh.count([message], [TOOL], tokenizer)


@pytest.mark.parametrize(
    ("before", "after"), [({"x": 1}, {"x": True}), ({"x": 1}, {"x": 1.0}), ({"x": -1}, {"x": -2.0}), ({"x": "y"}, ["x", "y"]), ([], {})]
)
def test_values_that_only_python_calls_equal_are_distinguished(quick, before, after):
    for value in (before, after):
        counted = quick.count([{"role": "user", "extra": value}], None, GPT_4O)
        assert counted == TokenCounter(load=lambda _name: one_by_one).count([{"role": "user", "extra": value}], None, GPT_4O)


def test_a_change_deep_inside_a_tool_or_a_call_is_seen(quick):
    tool, message = copy.deepcopy(TOOL), {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]}
    before = quick.count([message], [tool], GPT_4O).tokens
    tool["function"]["parameters"]["properties"]["command"]["type"] = "string!"
    message["tool_calls"][0]["function"]["arguments"] = "{} "
    assert quick.count([message], [tool], GPT_4O).tokens == before + 2


def test_a_counted_message_is_not_counted_again():
    seen = []
    counter = TokenCounter(load=lambda _name: lambda text: seen.append(text) or len(text))
    history = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}]
    counter.count(history, [TOOL], GPT_4O)
    seen.clear()
    counter.count([*json.loads(json.dumps(history)), {"role": "user", "content": "third"}], [copy.deepcopy(TOOL)], GPT_4O)
    assert seen == ["user", "third"]


def test_the_cache_evicts_the_least_recently_used_message():
    seen = []
    counter = TokenCounter(capacity=2, load=lambda _name: lambda text: seen.append(text) or len(text))
    for text in ("a", "b", "a", "c", "a", "b"):
        counter.count([{"role": "user", "content": text}], None, GPT_4O)
    assert [text for text in seen if text != "user"] == ["a", "b", "c", "b"]
    assert len(counter._counted) == 2


def test_a_history_longer_than_the_cache_is_counted_whole():
    counter = TokenCounter(capacity=3, load=lambda _name: one_by_one)
    assert counter.count([{"role": "user", "content": str(n)} for n in range(10)], None, GPT_4O).tokens == 3 + 10 * (3 + 4 + 1)


def test_families_do_not_share_cached_counts(quick):
    messages = [{"role": "user", "content": "0123456789"}]
    assert len({quick.count(messages, [TOOL], tokenizer).tokens for tokenizer in (GPT_4O, BYTES, ANY)}) == 3


def test_threads_may_share_a_counter():
    loads = []
    counter = TokenCounter(capacity=50, load=lambda name: loads.append(name) or one_by_one)
    start, wrong = threading.Barrier(4), []

    def work():
        start.wait()
        for n in range(200):
            messages = [{"role": "user", "content": "x" * (n % 80 + m)} for m in range(5)]
            if counter.count(messages, None, GPT_4O).tokens != 3 + sum(3 + 4 + len(m["content"]) for m in messages):
                wrong.append(n)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert loads == ["o200k_base"]


# ------------------------------------------------------------------------------------------------------------- loading


def test_nothing_is_loaded_for_bytes_and_each_vocabulary_once():
    loads = []
    counter = TokenCounter(load=lambda name: loads.append(name) or one_by_one)
    counter.byte_bound([{"role": "user", "content": "x"}])
    counter.prepare(BYTES)
    assert loads == []
    counter.prepare(GPT_4)
    counter.count([{"role": "user", "content": "x"}], None, GPT_4)
    counter.count([{"role": "user", "content": "x"}], None, CLAUDE)
    assert loads == ["cl100k_base", "o200k_base"]


def test_an_unknown_vocabulary_is_refused():
    with pytest.raises(KeyError, match="p99k_base"):
        load_encoding("p99k_base")


# ----------------------------------------------------------------------------------------------------------- bad input


def test_other_mappings_and_sequences_count_like_plain_ones(quick):
    plain = [{"role": "user", "content": [{"type": "odd", "x": [1, 2]}], "tool_calls": [{"id": "a", "x": {"y": 1}}], "more": {"z": 1}}]
    other = [
        MappingProxyType(
            {
                "role": "user",
                "content": (OrderedDict(type="odd", x=(1, 2)),),
                "tool_calls": (MappingProxyType({"id": "a", "x": OrderedDict(y=1)}),),
                "more": MappingProxyType({"z": 1}),
            }
        )
    ]
    tool = MappingProxyType(TOOL)
    assert quick.count(other, (tool,), GPT_4O) == quick.count(plain, [TOOL], GPT_4O)


class Own(list):
    """A sequence that marshal has no form for, of a class of its own."""


def test_custom_sequences_count_like_lists(quick):
    assert quick.count([], [{"x": Own([1])}], GPT_4O) == quick.count([], [{"x": [1]}], GPT_4O)
    assert quick.count([], [{"x": range(2)}], GPT_4O) == quick.count([], [{"x": [0, 1]}], GPT_4O)


def nested(depth: int):
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


def endless():
    value: dict[str, object] = {}
    value["self"] = value
    return value


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("hello", "must be a mapping"),
        ({"role": "user", "content": b"bytes"}, "bytes"),
        ({"role": "user", "extra": object()}, "object"),
        ({"role": "user", "extra": {(1, 2): 3}}, "JSON"),
        ({"role": "user", "content": nested(100_000)}, "nested too deeply"),
        ({"role": "user", "tool_calls": nested(100_000)}, "nested too deeply"),
        ({"role": "user", "extra": endless()}, "nested too deeply"),
        ({"role": "user", "extra": [float("nan")]}, "can't be written as JSON"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "weight": float("inf")}]}, "can't be written as JSON"),
        ({"role": "user", "content": [{"type": "text", "text": "x", "weight": 10**5_000}]}, "can't be written as JSON"),
        ({"role": "user", "tool_calls": endless()}, "JSON"),
    ],
)
def test_a_message_that_cannot_be_sent_is_refused_with_a_reason(quick, message, reason):
    with pytest.raises(RequestInvalid, match=reason):
        quick.count([message], None, GPT_4O)


def test_any_is_the_highest_of_all_families():
    message = {"role": "tool", "tool_call_id": "a", "content": "x"}
    for tokenizer in FAMILIES:
        assert weigh_message(message, tokenizer).tokens <= weigh_message(message, ANY).tokens
        assert tokenizer.request_tokens <= ANY.request_tokens
        assert tokenizer.tools_tokens <= ANY.tools_tokens


# ------------------------------------------------------------------------------------------------- texts that become vectors


def test_inputs_of_an_embeddings_request_have_no_template():
    counter, exact = TokenCounter(), tokenizer_for("openai", "text-embedding-3-small")
    counted = counter.count_inputs(["Hello", "Hello world", "Hi"], exact)
    assert (counted.prompt.tokens, counted.prompt.likely_tokens, counted.prompt.exact) == (4, 4, True)
    assert (counted.longest_at, counted.longest_tokens) == (1, 2)


def test_inputs_given_as_tokens_have_exactly_their_tokens():
    counted = TokenCounter().count_inputs([[1, 2, 3], [4]], tokenizer_for("openai", "text-embedding-3-small"))
    assert (counted.prompt.tokens, counted.longest_at, counted.longest_tokens) == (4, 0, 3)


@given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=5))
def test_in_an_unknown_vocabulary_every_byte_may_be_a_token(texts):
    counted = TokenCounter().count_inputs(texts, BYTES)
    assert counted.prompt.tokens >= sum(len(text.encode()) for text in texts)
    assert not counted.prompt.exact
