"""Who may make the vectors that are asked for, for how much; and the reason against everybody else."""

import pytest

from call_box import HELLO, NANO, model, per_run, registry
from paymaster.accounting.tokens.counter import BYTES, TokenCounter, tokenizer_for
from paymaster.errors import NoModelFits, RequestInvalid
from paymaster.operations import Operation
from paymaster.registry.models import Limits, Model
from paymaster.routing.alternatives import Known
from paymaster.routing.call_errors import no_model_error
from paymaster.routing.inputs import Inputs, check_inputs, items_of
from paymaster.routing.planning import Plan, assess, lowered_to, plan
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause
from paymaster.scope import Scope

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z
EXACT = tokenizer_for("openai", "text-embedding-3-small")
COUNTER = TokenCounter()


def embedder(name: str, **settings: object) -> Model:
    """A model that makes vectors, all of one space unless they say otherwise."""
    return model(name, **{"embeds": True, "vector_space": "space", "max_output_tokens": None, "tokenizer": EXACT, **settings})


def asked(inputs: Inputs = "Hello", **fields: object) -> Request:
    """A request for vectors."""
    return Request(operation=Operation.EMBEDDINGS, inputs=inputs, **fields)  # type: ignore[arg-type]  # a test names any field


def planned(request: Request, *models: Model, **policy: object) -> Plan:
    """The plan of a request over a chain of models."""
    return plan(request, registry(*models, **policy), Scope(run="r1"), NOON_MS, COUNTER)


def against(request: Request, *models: Model, **policy: object) -> list[tuple[str, SkipCause, str]]:
    """The skipped models, and why."""
    return [(passed.model, passed.cause, passed.detail) for passed in planned(request, *models, **policy).skipped]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("", "an empty text"),
        (None, "must be a text"),
        ([], "must be a text"),
        (5, "must be a text"),
        ({"text": "x"}, "must be a text"),
        (["a", ""], r"input\[1\] is empty"),
        (["a", 5], r"input\[1\] is no text"),
        (["a", [5]], r"input\[1\] is no text"),
        ([[1], "a"], r"input\[1\] is no list of tokens"),
        ([[1], []], r"input\[1\] is empty"),
        ([{"text": "x"}], r"input\[0\] is no list of tokens"),
        ([1, -1], "input holds -1"),
        ([1, True], "input holds True"),
        ([[1, "a"]], r"input\[0\] holds 'a'"),
        ([True], r"input\[0\] is no list of tokens"),
    ],
)
def test_what_no_vector_can_be_made_of_is_refused_by_its_place(wrong: object, said: str) -> None:
    with pytest.raises(RequestInvalid, match=said):
        check_inputs(wrong)
    with pytest.raises(RequestInvalid, match=said):
        planned(asked(wrong), embedder("a"))  # type: ignore[arg-type]  # that is the point


@pytest.mark.parametrize(
    ("inputs", "items"),
    [("a", ("a",)), (["a", "b"], ["a", "b"]), ([1, 2], ([1, 2],)), ([[1, 2], [3]], [[1, 2], [3]]), (("a",), ("a",))],
)
def test_every_form_of_openai_comes_to_items(inputs: Inputs, items: object) -> None:
    assert check_inputs(inputs) is inputs
    assert items_of(inputs) == items


def test_dimensions_are_a_whole_number() -> None:
    with pytest.raises(RequestInvalid, match="dimensions"):
        planned(asked(params={"dimensions": 0}), embedder("a"))


def test_the_hold_is_the_input_and_nothing_else() -> None:
    request = asked(["Hello world", "Hello"], params={"dimensions": 256, "max_tokens": 5})
    [candidate] = planned(request, embedder("a"), budgets=(per_run("1"),), hard_stop_on_budget=True).candidates
    assert (candidate.prompt.tokens, candidate.prompt.exact, candidate.output_tokens, candidate.limit_sent) == (3, True, 0, False)
    assert candidate.held_nanousd == 3 * 1000
    assert lowered_to(candidate, NANO, 256).held_nanousd == candidate.held_nanousd
    [by_tokens] = planned(asked([[1, 2, 3], [4]]), embedder("a")).candidates
    assert by_tokens.prompt.tokens == 4


def test_where_the_vocabulary_is_unknown_every_byte_and_what_stands_around_is_held() -> None:
    [candidate] = planned(asked(["Grüße", "x"]), embedder("a", tokenizer=BYTES)).candidates
    assert candidate.prompt.tokens == 7 + 16 + 1 + 16
    assert not candidate.prompt.exact


def test_models_of_the_other_kind_are_passed_over_before_anything_is_sent() -> None:
    talks, unknown = model("talks", embeds=False, capabilities=frozenset({"vision"})), model("unknown")
    found = planned(asked(), talks, embedder("embeds"), unknown)
    assert [candidate.model.name for candidate in found.candidates] == ["embeds"]
    assert [(passed.model, passed.cause) for passed in found.skipped] == [("talks", SkipCause.CAPABILITY), ("unknown", SkipCause.VECTORS)]
    [reason] = against(Request(messages=HELLO), embedder("embeds"))
    assert reason == ("embeds", SkipCause.CAPABILITY, "it lacks chat: it makes embeddings")
    [reason] = against(asked(), model("odd", capabilities=frozenset({"vision"})))
    assert reason == ("odd", SkipCause.CAPABILITY, "it lacks embeddings")


def test_nobody_waits_less_because_models_of_another_kind_come_after() -> None:
    entries = (embedder("a"), model("talks", embeds=False), embedder("b", vector_space="other"), embedder("c"))
    judged = assess(asked(), registry(*entries), Scope(run="r1"), NOON_MS, COUNTER)
    assert [each.after for each in judged] == [1, 1, 1, 0]
    judged = assess(Request(messages=HELLO), registry(model("x"), embedder("a")), Scope(run="r1"), NOON_MS, COUNTER)
    assert [each.after for each in judged] == [0, 0]


def test_vectors_of_two_spaces_are_never_mixed() -> None:
    first = embedder("first", vector_space="", model_id="text-embedding-3-small")
    same = embedder("same", vector_space="", model_id="text-embedding-3-small")
    other = embedder("other", vector_space="", model_id="text-embedding-3-large")
    declared = embedder("declared", vector_space="text-embedding-3-small", model_id="my-deployment")
    found = planned(asked(), first, other, same, declared)
    assert [candidate.model.name for candidate in found.candidates] == ["first", "same", "declared"]
    [(name, why, said)] = against(asked(), first, other, same, declared)
    assert (name, why) == ("other", SkipCause.VECTORS)
    assert "of text-embedding-3-large, not of text-embedding-3-small" in said
    assert "vector_space" in said


def test_nor_are_vectors_of_different_lengths() -> None:
    short = embedder("short", params={"dimensions": 256})
    assert [entry[2].partition(": ")[2] for entry in against(asked(), embedder("full"), short)] == [
        "256 dimensions, not as many dimensions as it likes"
    ]
    assert against(asked(params={"dimensions": 512}), embedder("full"), short) == []
    refuses = embedder("refuses", unsupported_params=frozenset({"dimensions"}))
    assert against(asked(params={"dimensions": 512}), refuses) == [("refuses", SkipCause.PARAMETER, "it does not take dimensions")]


def test_the_first_that_makes_vectors_says_which_they_are_even_if_it_cannot_be_asked() -> None:
    entries = registry(embedder("first"), embedder("second", vector_space="other"))
    found = plan(asked(), entries, Scope(run="r1"), NOON_MS, COUNTER, Known({"first": "A_KEY"}))
    assert found.candidates == ()
    assert [passed.cause for passed in found.skipped] == [SkipCause.KEY, SkipCause.VECTORS]


def test_an_input_that_is_too_long_is_named() -> None:
    long = embedder("a", max_input_tokens=3, context_window=4)
    [(_, why, said)] = against(asked(["one", "one two three four five"]), long)
    assert (why, said) == (SkipCause.CONTEXT, "input[1] has 5 tokens, it takes 3")
    [(_, _, said)] = against(asked([1, 2, 3, 4]), long)
    assert said == "the input has 4 tokens, it takes 3"
    assert against(asked(["one two", "three"]), long) == []
    bound_only = embedder("a", max_input_tokens=3, tokenizer=BYTES)
    assert against(asked("one two three four five"), bound_only) == [], "a bound rules nobody out: the provider decides"


def test_too_many_inputs_for_one_request_are_reported() -> None:
    [(_, why, said)] = against(asked(["x"] * 5), embedder("a", max_inputs=4))
    assert (why, said) == (SkipCause.LIMIT, "5 inputs are too many for one request, it takes 4")
    [(_, _, said)] = against(asked([[1, 2], [3, 4]]), embedder("a", max_inputs_tokens=3))
    assert said == "inputs of 4 tokens are too many for one request, it takes 3 in all"
    assert against(asked([[1, 2], [3, 4]]), embedder("a", max_inputs_tokens=3, tokenizer=BYTES)) == []


def test_more_than_a_minute_s_tokens_are_passed_over() -> None:
    [(_, why, said)] = against(asked([[1, 2, 3]]), embedder("a", limits=Limits(tpm=2)))
    assert (why, said) == (SkipCause.LIMIT, "3 tokens do not fit tpm = 2")


def test_the_error_says_whether_a_shorter_input_would_do() -> None:
    entries = (embedder("a", max_input_tokens=1), model("talks", embeds=False), embedder("other", vector_space="else"))
    request = asked("one two three")
    error = no_model_error(request, planned(request, *entries).skipped, [], [])
    assert isinstance(error, NoModelFits)
    assert error.too_long
    assert "(embeddings)" in error.message
    error = no_model_error(request, planned(request, model("talks", embeds=False)).skipped, [], [])
    assert isinstance(error, NoModelFits)
    assert not error.too_long
