"""Policies and the other runtime parameters over HTTP.

/api/policies[/VHOST[/NAME]]                    GET, PUT, DELETE
/api/operator-policies[/VHOST[/NAME]]           GET, PUT, DELETE
/api/parameters[/COMPONENT[/VHOST[/NAME]]]      GET, PUT, DELETE
/api/global-parameters[/NAME]                   GET, PUT, DELETE

Of the component `policy` nothing is listed among the parameters, as in RabbitMQ.
Source: RabbitMQ's rabbit_mgmt_wm_policy, _operator_policy, _parameter, _global_parameter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from aiohttp import web

from amqpd.core import operations
from amqpd.core.broker import Broker
from amqpd.core.policy import OPERATOR_POLICY, POLICY, Policy
from amqpd.core.vhost import VHost
from amqpd.management import fields, lists
from amqpd.management.conventions import Outcome, Refusal, json_response, name_in_path, not_found, read_object, stored
from amqpd.management.lists import Item

__all__ = ["Parameters"]


class Parameters:
    """The routes of what is set while the broker runs."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        component = "/api/parameters/{component:[^/]+}"
        parameter = f"{component}/{{vhost:[^/]+}}/{{name:[^/]+}}"
        name = "/api/global-parameters/{name:[^/]+}"
        return [
            *self.policy_routes("/api/policies", POLICY),
            *self.policy_routes("/api/operator-policies", OPERATOR_POLICY),
            web.get("/api/parameters", self.list_parameters),
            web.get(component, self.list_parameters),
            web.get(f"{component}/{{vhost:[^/]+}}", self.list_parameters),
            web.get(parameter, self.get_parameter),
            web.put(parameter, self.put_parameter),
            web.delete(parameter, self.delete_parameter),
            web.get("/api/global-parameters", self.list_global_parameters),
            web.get(name, self.get_global_parameter),
            web.put(name, self.put_global_parameter),
            web.delete(name, self.delete_global_parameter),
        ]

    def policy_routes(self, path: str, component: str) -> Iterator[web.RouteDef]:
        """Those of policies or of operator policies, which differ in nothing else."""
        one = f"{path}/{{vhost:[^/]+}}/{{name:[^/]+}}"
        yield web.get(path, partial(self.list_policies, component))
        yield web.get(f"{path}/{{vhost:[^/]+}}", partial(self.list_policies, component))
        yield web.get(one, partial(self.get_policy, component))
        yield web.put(one, partial(self.put_policy, component))
        yield web.delete(one, partial(self.delete_policy, component))

    def vhost(self, request: web.Request) -> VHost:
        """The virtual host in the path."""
        vhost = self.broker.vhosts.get(request.match_info["vhost"])
        if vhost is None:
            raise not_found()
        return vhost

    def vhosts(self, request: web.Request) -> Iterable[VHost]:
        """The virtual host in the path, or all."""
        return [self.vhost(request)] if "vhost" in request.match_info else self.broker.vhosts.values()

    # -------------------------------------------------------------------------------------------- policies

    async def list_policies(self, component: str, request: web.Request) -> web.StreamResponse:
        items = [
            fields.policy(vhost.name, policy)
            for vhost in self.vhosts(request)
            for policy in vhost.policies.named[component].values()
        ]
        return await lists.respond(request, items, lambda item: item)

    def policy(self, component: str, request: web.Request) -> Policy:
        """The policy in the path."""
        policy = self.vhost(request).policies.named[component].get(request.match_info["name"])
        if policy is None:
            raise not_found()
        return policy

    async def get_policy(self, component: str, request: web.Request) -> web.Response:
        item = fields.policy(request.match_info["vhost"], self.policy(component, request))
        return json_response(lists.only_columns(request, item))

    async def put_policy(self, component: str, request: web.Request) -> web.Response:
        vhost, name, body = self.vhost(request), name_in_path(request, "name"), await read_object(request)
        for key in ("pattern", "definition"):
            if key not in body:
                raise Refusal(400, f"'{key}' is missing")
        existed, done = name in vhost.policies.named[component], Outcome[None]()
        operations.set_policy(
            self.broker,
            vhost,
            name,
            pattern=body["pattern"],
            definition=body["definition"],
            priority=body.get("priority", 0),
            apply_to=body.get("apply-to", "all"),
            operator=component == OPERATOR_POLICY,
            done=done,
        )
        await done.result()
        return stored(existed)

    async def delete_policy(self, component: str, request: web.Request) -> web.Response:
        name, done = self.policy(component, request).name, Outcome[None]()
        operator = component == OPERATOR_POLICY
        operations.clear_policy(self.broker, self.vhost(request), name, operator=operator, done=done)
        await done.result()
        return web.Response(status=204)

    # ------------------------------------------------------------------------------------------ parameters

    async def list_parameters(self, request: web.Request) -> web.StreamResponse:
        wanted = request.match_info.get("component")
        items = [
            fields.parameter(vhost.name, component, name, value)
            for vhost in self.vhosts(request)
            for component, values in vhost.parameters.items()
            if component != POLICY and wanted in (None, component)
            for name, value in values.items()
        ]
        return await lists.respond(request, items, lambda item: item, ("component", "vhost", "name"))

    def parameter(self, request: web.Request) -> Item:
        """The parameter in the path."""
        vhost, component, name = self.vhost(request), request.match_info["component"], request.match_info["name"]
        values = vhost.parameters.get(component, {})
        if name not in values or component == POLICY:
            raise not_found()
        return fields.parameter(vhost.name, component, name, values[name])

    async def get_parameter(self, request: web.Request) -> web.Response:
        return json_response(lists.only_columns(request, self.parameter(request)))

    async def put_parameter(self, request: web.Request) -> web.Response:
        vhost, name, body = self.vhost(request), name_in_path(request, "name"), await read_object(request)
        component = request.match_info["component"]
        existed, done = name in vhost.parameters.get(component, ()), Outcome[None]()
        operations.set_parameter(self.broker, vhost, component, name, value_of(body), done)
        await done.result()
        return stored(existed)

    async def delete_parameter(self, request: web.Request) -> web.Response:
        self.parameter(request)
        component, name, done = request.match_info["component"], request.match_info["name"], Outcome[None]()
        operations.clear_parameter(self.broker, self.vhost(request), component, name, done)
        await done.result()
        return web.Response(status=204)

    # ----------------------------------------------------------------------------------- global parameters

    async def list_global_parameters(self, request: web.Request) -> web.StreamResponse:
        items = operations.list_global_parameters(self.broker).items()
        return await lists.respond(request, items, lambda item: {"name": item[0], "value": item[1]}, ("name",))

    def global_parameter(self, request: web.Request) -> Item:
        """The global parameter in the path."""
        name, values = request.match_info["name"], operations.list_global_parameters(self.broker)
        if name not in values:
            raise not_found()
        return {"name": name, "value": values[name]}

    async def get_global_parameter(self, request: web.Request) -> web.Response:
        return json_response(lists.only_columns(request, self.global_parameter(request)))

    async def put_global_parameter(self, request: web.Request) -> web.Response:
        name, body, done = name_in_path(request, "name"), await read_object(request), Outcome[None]()
        existed = name in self.broker.global_parameters
        operations.set_global_parameter(self.broker, name, value_of(body), done)
        await done.result()
        return stored(existed)

    async def delete_global_parameter(self, request: web.Request) -> web.Response:
        self.global_parameter(request)
        done = Outcome[None]()
        operations.clear_global_parameter(self.broker, request.match_info["name"], done)
        await done.result()
        return web.Response(status=204)


def value_of(body: Item) -> object:
    """The value that a parameter is to have."""
    if "value" not in body:
        raise Refusal(400, "'value' is missing")
    return body["value"]
