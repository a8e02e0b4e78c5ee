"""The header that names the endpoint of an answer."""

from dataclasses import replace

from call_box import HELLO, Box, answer, registry, spread
from paymaster.flow.events import Admitted
from paymaster.gateway.call_observer import CallObserver
from paymaster.gateway.endpoint import common_headers
from paymaster.routing.requests import Request


def test_an_answer_names_its_endpoint_if_the_model_has_several() -> None:
    box = Box(registry(spread("m", "x", "y")), {"m": [answer()]})
    box.ask(Request(messages=HELLO))
    [admitted] = [event for event in box.events if isinstance(event, Admitted)]
    observer = CallObserver(lambda _: None)
    observer.emit(admitted)
    assert dict(common_headers("m", 1, observer))[b"x-paymaster-endpoint"] == b"x"
    observer.emit(replace(admitted, endpoint=""))
    assert b"x-paymaster-endpoint" not in dict(common_headers("m", 1, observer))
