"""Each model gets the adapter of its registry entry, made once and closed with its client."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from paymaster.flow.ports import ProviderReply
from paymaster.options import configure
from paymaster.providers.openai_http import OpenAIHttp
from paymaster.providers.provider_set import ProviderSet
from paymaster.providers.scripted.script import ScriptInvalid
from paymaster.registry.models import Dialect
from paymaster.testing import ManualRuntime


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("suspended")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "play.yaml"
    path.write_text("models: {m: {answers: [{text: hello}]}}", encoding="utf-8")
    return str(path)


def test_models_of_one_adapter_share_it_and_a_script_has_its_own(make_call, script):
    providers = ProviderSet(ManualRuntime(), blocking=True)
    first, second = make_call("http://a/v1", "a").model, make_call("http://b/v1", "b").model
    played = make_call("", "m", adapter="scripted", script=script).model
    assert providers.provider_for(first) is providers.provider_for(second)
    assert providers.provider_for(played) is not providers.provider_for(first)
    assert providers.provider_for(played) is providers.provider_for(played)
    drive(providers.close())


def test_a_script_is_played_in_process(make_call, script):
    providers = ProviderSet(ManualRuntime(), blocking=True)
    call = make_call(None, "m", adapter="scripted", script=script)
    reply = drive(providers.provider_for(call.model).send(call))
    assert isinstance(reply, ProviderReply)
    with pytest.raises(ScriptInvalid):
        providers.provider_for(make_call("", "x", adapter="scripted", script=f"{script}.none").model)


def test_anthropic_needs_no_litellm(tmp_path):
    registry = tmp_path / "registry.yaml"
    registry.write_text("models: {claude: {provider: anthropic, model_id: claude-opus-4-8}}", encoding="utf-8")
    model = configure(registry, {"ledger": "memory"}).registry.models["claude"]
    assert isinstance(ProviderSet(ManualRuntime(), blocking=True).provider_for(model), OpenAIHttp)
    assert (model.adapter, model.base_url, model.dialect) == ("openai_http", "https://api.anthropic.com/v1", Dialect.MESSAGES)


def test_a_callers_own_provider_replaces_the_adapter(make_call):
    class Own:
        closed = False

        async def close(self) -> None:
            self.closed = True

    own = Own()
    providers = ProviderSet(ManualRuntime(), blocking=True, own={"a": own})
    assert providers.provider_for(make_call("http://a/v1", "a").model) is own
    assert isinstance(providers.provider_for(make_call("http://a/v1", "b").model), OpenAIHttp)
    drive(providers.close())
    assert own.closed


def test_an_async_set_uses_the_callers_loop(make_call, serve):
    server = serve("models: {m: {answers: [{text: hello}]}}")

    async def ask() -> object:
        providers = ProviderSet(ManualRuntime(), blocking=False)
        call = make_call(server.base_url)
        reply = await providers.provider_for(call.model).send(call)
        await providers.close()
        return reply

    assert isinstance(asyncio.run(ask()), ProviderReply)


@pytest.mark.xdist_group("litellm")
@pytest.mark.filterwarnings("ignore")
def test_litellm_is_opened_when_a_model_needs_it(make_call):
    from paymaster.providers.litellm_adapter import LitellmProvider

    providers = ProviderSet(ManualRuntime(), blocking=True)
    assert isinstance(providers.provider_for(make_call("http://a/v1", "a", adapter="litellm").model), LitellmProvider)
    drive(providers.close())


def test_adapters_import_heavy_libraries_only_when_needed():
    program = "import sys, paymaster.providers.provider_set; print(sorted({'litellm', 'aiohttp', 'httpx', 'yarl'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"
