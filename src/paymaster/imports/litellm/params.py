"""What each parameter of a deployment of LiteLLM's (`litellm_params`) is in a registry, but for its connection and its prices."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from paymaster.errors import near
from paymaster.imports.findings import Findings
from paymaster.imports.litellm.fields import AWS, AWS_KEYS, GOOGLE, OLLAMA_WITHOUT, PARAMS, PARAMS_WITHOUT
from paymaster.imports.litellm.info import read_info
from paymaster.imports.litellm.making import Making, number_of
from paymaster.imports.litellm.variables import reference, referenced, variable_name
from paymaster.registry.secrets import holds_a_secret, variable_names
from paymaster.registry.yamltext import KeyPath, Plain


def read_param(name: str, value: Plain, path: KeyPath, making: Making) -> None:
    """One field of `litellm_params` that is neither connection nor price."""
    if name in _LIMITS:
        making.put((_LIMITS[name],), value, path)
    elif name in OLLAMA_WITHOUT and making.made.target.provider == "ollama":
        making.findings.no_counterpart(path, OLLAMA_WITHOUT[name])
    elif name in PARAMS:
        making.put(("params", name), referenced(value), path)
    elif name in _READERS:
        _READERS[name](value, path, making)
    elif name in AWS | GOOGLE:
        _put_cloud(name, value, path, making)
    elif name in AWS_KEYS:
        _read_cloud_key(name, value, path, making)
    elif name in PARAMS_WITHOUT:
        making.findings.no_counterpart(path, PARAMS_WITHOUT[name])
    elif name == "model_info" and isinstance(value, dict):
        for inner, item in value.items():
            read_info(inner, item, (*path, inner), making)
    else:
        known = near(name, [*_LIMITS, *PARAMS, *_READERS, *PARAMS_WITHOUT])
        hint = f" ({known})" if known.startswith("did you mean") else ""
        making.findings.no_counterpart(path, f"no field of LiteLLM's that is known here{hint}; what the provider takes goes to params")


_LIMITS: Mapping[str, str] = {
    "rpm": "rpm", "tpm": "tpm", "itpm": "input_tpm", "otpm": "output_tpm", "max_parallel_requests": "max_parallel", "region_name": "region",
}  # fmt: skip


def _read_timeout(value: Plain, path: KeyPath, making: Making) -> None:
    if value is None or reference(value) is not None:
        making.findings.no_counterpart(path, "write the seconds: a registry's times are numbers")
    else:
        making.put(("timeouts", "total_s"), value, path, "seconds for a whole answer")


def _read_stream_timeout(value: Plain, path: KeyPath, making: Making) -> None:
    if value is None or reference(value) is not None:
        making.findings.no_counterpart(path, "write the seconds: a registry's times are numbers")
        return
    total = making.made.entry.params.get("timeout", (None, ()))[0]
    seconds, longest = number_of(value), number_of(total)
    if seconds is not None and longest is not None and seconds > longest:
        making.put(("timeouts", "first_token_s"), total, path, "seconds to the first token, no more than timeout")
    else:
        making.put(("timeouts", "first_token_s"), value, path, "seconds to the first token")


def _read_weight(value: Plain, path: KeyPath, making: Making) -> None:
    making.put(("weight",), value, path)


def _read_order(value: Plain, path: KeyPath, making: Making) -> None:
    number = number_of(value)
    if number is None or number != number.to_integral_value() or abs(number) > 10**6:
        making.findings.no_counterpart(path, "this is no order")
        return
    making.made.order = int(number)
    making.findings.changed(path, "endpoints are written in this order")


def _read_extra_body(value: Plain, path: KeyPath, making: Making) -> None:
    if not isinstance(value, dict):
        making.findings.no_counterpart(path, "this is no map of parameters")
        return
    for name, item in value.items():
        if name in making.made.entry.params:
            making.findings.changed((*path, name), "the field of the same name in litellm_params counts")
        else:
            making.put(("params", name), referenced(item), (*path, name), "params are the fields of the request's body")
    if not value:
        making.findings.carried(path, "it is empty")


def _read_headers(value: Plain, path: KeyPath, making: Making) -> None:
    if not isinstance(value, dict):
        making.findings.no_counterpart(path, "this is no map of headers")
        return
    if not value:
        making.findings.carried(path, "it is empty")
    for name, item in value.items():
        _put_header(name, item, (*path, name), making)


def _put_header(name: str, value: Plain, path: KeyPath, making: Making) -> None:
    """A header; a secret in it becomes a variable."""
    text = str(value) if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else None
    if text is None:
        making.findings.no_counterpart(path, "a header is one line of text")
        return
    written = referenced(text)
    if holds_a_secret(name, str(written)):
        variable = making.variables.instead_of(text, variable_name(name), making.made.entry.name, making.made.entry.name)
        making.put(("extra_headers", name), f"${variable}", path, "the value is not written: put it into this variable")
        return
    for variable in _named(written):
        making.variables.use(variable, making.made.entry.name)
    making.put(("extra_headers", name), written, path, "" if written == text else "the variable as $NAME")


def _named(written: Plain) -> tuple[str, ...]:
    return variable_names(written) if isinstance(written, str) else ()


def _read_organization(value: Plain, path: KeyPath, making: Making) -> None:
    _put_header("OpenAI-Organization", value, path, making)


def _read_api_version(value: Plain, path: KeyPath, making: Making) -> None:
    if not making.made.target.facts.versioned:
        making.findings.no_counterpart(path, "only Azure has API versions")
    elif reference(value) is not None:
        making.findings.changed(path, "left out: without a version, Azure's v1 address is called; else write the version")
    else:
        making.put(("api_version",), value, path)


def _read_dropped(value: Plain, path: KeyPath, making: Making) -> None:
    names = value if isinstance(value, list) else [value]
    plain = [name for name in names if isinstance(name, str) and name.replace("_", "").isalnum()]
    if not plain:
        making.findings.no_counterpart(path, "compat.drop_params names fields of the request; parts of fields stay")
    else:
        how = "" if len(plain) == len(names) else "without paths into fields: only whole fields are dropped"
        making.put(("compat", "drop_params"), list(plain), path, how)


def _read_kept(value: Plain, path: KeyPath, making: Making) -> None:
    making.put(("compat", "keep_params"), value, path)


def _read_drop_params(value: Plain, path: KeyPath, making: Making) -> None:
    say_of_drop_params(value, path, making.findings)


def say_of_drop_params(value: Plain, path: KeyPath, findings: Findings) -> None:
    """What Paymaster does about parameters that an endpoint does not take."""
    if value is True or str(value).lower() == "true":
        findings.carried(path, "always: what an endpoint refuses is left out, and named in events and x-paymaster-dropped")
    else:
        findings.changed(path, "what an endpoint refuses is always left out, and named in events and x-paymaster-dropped")


def _read_credential_name(value: Plain, path: KeyPath, making: Making) -> None:
    del value
    making.findings.changed(path, "the credential's values are written at the model")


_READERS: Mapping[str, Callable[[Plain, KeyPath, Making], None]] = {
    "timeout": _read_timeout,
    "request_timeout": _read_timeout,
    "stream_timeout": _read_stream_timeout,
    "weight": _read_weight,
    "order": _read_order,
    "extra_body": _read_extra_body,
    "extra_headers": _read_headers,
    "headers": _read_headers,
    "organization": _read_organization,
    "api_version": _read_api_version,
    "additional_drop_params": _read_dropped,
    "allowed_openai_params": _read_kept,
    "drop_params": _read_drop_params,
    "litellm_credential_name": _read_credential_name,
}


def _put_cloud(name: str, value: Plain, path: KeyPath, making: Making) -> None:
    """A place or an account of a cloud, which litellm takes as a parameter."""
    if not making.made.target.by_litellm:
        making.findings.no_counterpart(path, f"{making.made.target.facts.title} does not take it")
        return
    written = referenced(value)
    for variable in _named(written):
        making.variables.use(variable, making.made.entry.name)
    making.put(("params", name), written, path, "" if written == value else "the variable as $NAME")


def _read_cloud_key(name: str, value: Plain, path: KeyPath, making: Making) -> None:
    usual = AWS_KEYS[name]
    if not making.made.target.by_litellm:
        making.findings.no_counterpart(path, f"{making.made.target.facts.title} does not take it")
        return
    making.variables.use(usual, making.made.entry.name)
    if reference(value) == usual:
        making.findings.changed(path, "left out: the cloud's own library reads this variable")
    else:
        making.findings.no_counterpart(path, f"set {usual}, which the cloud's own library reads; for a second account use a profile")
