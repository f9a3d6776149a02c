"""The public API as a typed program uses it. Never run: `mypy --strict` reads it and says where a type has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from maim_trio import BaseMessageInfo as LegacyInfo
from maim_trio import (
    MessageBase,
    MessageClient,
    MessageConverter,
    MessageServer,
    RouteConfig,
    Router,
    TargetConfig,
    __version__,
)
from maim_trio import UserInfo as LegacyUser
from maim_trio.client import (
    ClientConfig,
    ConnectionEntry,
    MultiClientConfig,
    WebSocketClient,
    WebSocketMultiClient,
    create_client_config,
    create_ssl_client_config,
)
from maim_trio.client_factory import create_client, create_multi_client
from maim_trio.errors import ConfigError, InvalidMessage, MaimError, NotConnected, NotRunning, RequestFailed
from maim_trio.message import (
    APIMessageBase,
    BaseMessageInfo,
    FormatInfo,
    GroupInfo,
    MessageDim,
    ReceiverInfo,
    Seg,
    SenderInfo,
    TemplateInfo,
    UserInfo,
)
from maim_trio.server import (
    AuthResult,
    ServerConfig,
    WebSocketServer,
    create_server_config,
    create_ssl_server_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio

Metadata = dict[str, Any]


def make_message() -> APIMessageBase:
    user = UserInfo(platform="wechat", user_id="u1", user_nickname="Ann")
    group = GroupInfo(platform="wechat", group_id="g1")
    return APIMessageBase(
        message_info=BaseMessageInfo(
            platform="wechat",
            message_id="m1",
            time=1703123456.5,
            sender_info=SenderInfo(user_info=user, group_info=group),
            receiver_info=ReceiverInfo(user_info=user),
            format_info=FormatInfo(content_format=["text"], accept_format=["text", "image"]),
            template_info=TemplateInfo(template_items={"a": "b"}),
            additional_config={"x": 1},
        ),
        message_segment=Seg(type="seglist", data=[Seg(type="text", data="hi"), Seg("image", "aGk=")]),
        message_dim=MessageDim(api_key="key", platform="wechat"),
    )


def messages() -> None:
    message = make_message()
    assert_type(message.to_dict(), dict[str, Any])
    assert_type(message.to_json(), bytes)
    assert_type(APIMessageBase.from_dict(message.to_dict()), APIMessageBase)
    assert_type(APIMessageBase.from_json(message.to_json()), APIMessageBase)
    assert_type(Seg.from_dict({"type": "text", "data": "hi"}), Seg)
    assert_type(message.get_api_key(), str)
    assert_type(message.get_platform(), str)
    assert_type(message.get_message_platform(), str)
    assert_type(message.get_message_id(), str)
    assert_type(message.get_message_time(), float)
    assert_type(message.has_sender_info(), bool)
    assert_type(message.has_receiver_info(), bool)
    message.set_message_dim("key", "wechat")
    message.message_info.platform = "telegram"
    if message.message_info.sender_info is not None and message.message_info.sender_info.user_info is not None:
        assert_type(message.message_info.sender_info.user_info.user_id, str)


def legacy_messages() -> None:
    user = LegacyUser("qq", user_id=10001)
    legacy = MessageBase(LegacyInfo(platform="qq", user_info=user), Seg("text", "hi"), raw_message="hi")
    assert_type(legacy.to_dict(), dict[str, Any])
    assert_type(MessageBase.from_dict(legacy.to_dict()), MessageBase)
    assert_type(legacy.message_info.platform, str | None)
    assert_type(user.user_id, str | int | None)
    assert_type(MessageConverter.to_api_receive(legacy, "key"), APIMessageBase)
    assert_type(MessageConverter.to_api_send(legacy, api_key="key", platform="qq"), APIMessageBase)
    assert_type(MessageConverter.from_api_receive(make_message()), MessageBase)
    assert_type(MessageConverter.from_api_send(make_message()), MessageBase)


# -- callbacks, in the forms that they may take


async def on_message(message: APIMessageBase, metadata: Metadata) -> None:
    print(message.get_message_id(), metadata["user_id"])


async def on_auth(metadata: Metadata) -> bool:
    return bool(metadata["api_key"])


def on_auth_with_result(metadata: Metadata) -> AuthResult:
    return AuthResult(success=bool(metadata["api_key"]), user_id="user", error_message=None)


async def on_auth_extract_user(metadata: Metadata) -> str:
    return f"user of {metadata['platform']}"


async def on_server_connect(connection_uuid: str, metadata: Metadata) -> None:
    print(connection_uuid, metadata["resumed"])


async def on_client_connect(connection_uuid: str, config: ClientConfig) -> None:
    print(connection_uuid, config.platform)


def on_client_disconnect(connection_uuid: str, error: str | None) -> None:
    print(connection_uuid, error or "meant")


def on_ping(payload: dict[str, Any]) -> dict[str, Any]:
    return {"pong": payload}


async def on_echo(payload: dict[str, Any], metadata: Metadata) -> None:
    print(payload, metadata["message_type"])


# -- the server


async def use_server(nursery: trio.Nursery) -> None:
    config = create_server_config(host="127.0.0.1", port=0, on_message=on_message, custom_handlers={"ping": on_ping})
    assert_type(config, ServerConfig)
    assert_type(create_ssl_server_config("0.0.0.0", 18044, "cert.pem", "key.pem"), ServerConfig)
    assert_type(ServerConfig.from_toml("server.toml"), ServerConfig)
    assert_type(ServerConfig.from_env(), ServerConfig)
    config.on_auth, config.on_auth_extract_user = on_auth, on_auth_extract_user
    config.on_auth = on_auth_with_result
    config.on_connect = on_server_connect
    config.register_custom_handler("echo", on_echo)
    assert_type(config.validate(), bool)
    assert_type(config.get_missing_fields(), set[str])
    async with WebSocketServer(config) as server:
        assert_type(server, WebSocketServer)
        assert_type(server.port, int)
        assert_type(await server.send_message(make_message()), dict[str, bool])
        assert_type(await server.send_message(make_message(), target_platform="qq"), dict[str, bool])
        assert_type(await server.send_custom_message("ping", {"n": 1}, target_user="user"), dict[str, bool])
        assert_type(await server.broadcast_message(make_message(), platform="wechat"), dict[str, bool])
        assert_type(await server.broadcast_custom_message("news", {}), dict[str, bool])
        assert_type(await server.request("uuid", "tool", {"x": 1}, timeout=5), dict[str, Any])
        assert_type(server.get_user_count(), int)
        assert_type(server.get_connection_count(), int)
        assert_type(server.get_user_connections("user"), set[str])
        assert_type(server.get_platform_connections("user", "wechat"), set[str])
        assert_type(server.get_connection_info("uuid"), dict[str, str] | None)
        assert_type(server.get_connections(), dict[str, dict[str, Any]])
        assert_type(await server.extract_user("key", "wechat"), str)
        assert_type(await server.disconnect("uuid", code=1000, reason="bye"), bool)
        assert_type(await server.disconnect_user("user"), int)
        assert_type(server.get_stats(), dict[str, Any])
        assert_type(server.get_coroutine_status(), dict[str, Any])
        server.update_config(handler_timeout=5)
        server.register_custom_handler("echo", on_echo)
        server.unregister_custom_handler("echo")
    await WebSocketServer().start(nursery)
    started: WebSocketServer = await nursery.start(WebSocketServer().run)
    assert_type(started.is_running(), bool)
    await started.stop()


# -- the client


async def use_client(nursery: trio.Nursery) -> None:
    config = create_client_config("ws://localhost:18040/ws", "key", platform="wechat", on_connect=on_client_connect)
    assert_type(config, ClientConfig)
    assert_type(create_ssl_client_config(api_key="key", host="localhost"), ClientConfig)
    assert_type(ClientConfig("ws://localhost/ws", "key", "wechat"), ClientConfig)
    assert_type(ClientConfig.from_toml("client.toml"), ClientConfig)
    config.on_disconnect = on_client_disconnect
    async with WebSocketClient(config) as client:
        assert_type(client, WebSocketClient)
        assert_type(await client.connect(), bool)
        assert_type(client.is_connected(), bool)
        assert_type(client.is_running(), bool)
        await client.wait_connected()
        assert_type(await client.send_message(make_message()), bool)
        assert_type(await client.send_custom_message("ping", {"n": 1}), bool)
        assert_type(await client.request("tool", {"x": 1}, timeout=5), dict[str, Any])
        assert_type(client.get_cached_connection_info(), dict[str, str])
        assert_type(client.get_connection_uuid(), str | None)
        assert_type(client.get_last_error(), str | None)
        assert_type(client.get_stats(), dict[str, Any])
        assert_type(client.get_coroutine_status(), dict[str, Any])
        client.update_config(api_key="another")
        client.register_custom_handler("ping", on_ping)
        client.unregister_custom_handler("ping")
        received = client.messages()
        async for message, metadata in received:
            assert_type(message, APIMessageBase)
            assert_type(metadata, dict[str, Any])
            break
        await received.aclose()
        assert_type(await client.disconnect(), bool)
    assert_type(create_client("ws://localhost/ws", "key"), WebSocketClient)
    started: WebSocketClient = await nursery.start(WebSocketClient(config).run)
    await started.stop()


async def use_multi_client() -> None:
    entry = ConnectionEntry("main", "ws://localhost/ws", "key", "wechat")
    config = MultiClientConfig(connections={"main": entry}, on_message=on_message)
    async with WebSocketMultiClient(config) as client:
        assert_type(client, WebSocketMultiClient)
        assert_type(await client.connect(), dict[str, bool])
        assert_type(await client.connect("main"), dict[str, bool])
        assert_type(client.is_connected("main"), bool)
        assert_type(client.register_connection("other", "ws://localhost/ws", "key"), bool)
        assert_type(await client.send_message("main", make_message()), bool)
        assert_type(await client.send_custom_message("main", "ping", {"n": 1}), bool)
        assert_type(await client.route_message(make_message()), bool)
        assert_type(client.get_last_error("main"), str | None)
        assert_type(await client.disconnect(), dict[str, bool])
    assert_type(create_multi_client({"main": {"url": "ws://localhost/ws", "api_key": "key"}}), WebSocketMultiClient)


async def on_legacy_message(message: dict[str, Any]) -> None:
    await use_legacy_client(message)


async def use_legacy_server(nursery: trio.Nursery, message: MessageBase) -> None:
    server = MessageServer("127.0.0.1", 18000, enable_token=True, mode="ws", inbox_size=10)
    server.add_valid_token("token")
    server.remove_valid_token("token")
    server.register_message_handler(on_legacy_message)
    server.register_custom_message_handler("poke", lambda message: message["content"])
    async with server as running:
        assert_type(running, MessageServer)
        assert_type(server.port, int)
        assert_type(await server.verify_token("token"), bool)
        assert_type(await server.send_message(message), bool)
        assert_type(await server.send_custom_message("qq", "poke", {"a": 1}), bool)
        assert_type(await server.broadcast_to_platform("qq", message.to_dict()), bool)
        await server.broadcast_message(message.to_dict())
        assert_type(server.get_platforms(), set[str])
        assert_type(server.get_stats(), dict[str, Any])
        await server.process_message(message.to_dict())
    await server.start(nursery)
    await server.stop()


async def use_legacy_client(message: dict[str, Any]) -> None:
    client = MessageClient(mode="ws", reconnect_delay=0.5)
    async with client as running:
        assert_type(running, MessageClient)
        assert_type(await client.connect("wss://localhost/ws", "qq", "token", ssl_verify=False), bool)
        assert_type(client.is_connected(), bool)
        assert_type(client.platform, str | None)
        assert_type(client.get_last_error(), str | None)
        assert_type(await client.send_message(message), bool)
        assert_type(await client.send_message(MessageBase.from_dict(message)), bool)
        assert_type(await client.send_custom_message("poke", {"a": 1}), bool)


async def use_router(nursery: trio.Nursery, message: MessageBase) -> None:
    config = RouteConfig({"qq": TargetConfig("ws://localhost/ws", "token")})
    assert_type(RouteConfig.from_dict(config.to_dict()), RouteConfig)
    assert_type(TargetConfig.from_dict({"url": "ws://localhost/ws"}), TargetConfig)
    router: Router = await nursery.start(Router(config).run)
    router.register_class_handler(on_legacy_message)
    router.register_custom_message_handler("poke", on_legacy_message)
    router.unregister_message_handler("poke", on_legacy_message)
    assert_type(await router.connect("qq"), bool)
    assert_type(router.check_connection("qq"), bool)
    assert_type(router.get_last_error("qq"), str | None)
    assert_type(router.clients, dict[str, MessageClient])
    assert_type(router.get_target_url(message), str | None)
    assert_type(await router.send_message(message), bool)
    assert_type(await router.send_custom_message("qq", "poke", {"a": 1}), bool)
    await router.add_platform("wechat", TargetConfig("ws://localhost/ws"))
    await router.remove_platform("wechat")
    await router.update_config(config.to_dict())
    await router.stop()


def use_errors(payload: Mapping[str, Any]) -> str:
    try:
        APIMessageBase.from_dict(dict(payload))
    except InvalidMessage as error:
        assert_type(error.code, str)
    except (ConfigError, NotRunning, NotConnected) as problem:
        return str(problem)
    except RequestFailed as failure:
        assert_type(failure.error, str)
    except MaimError as anything:
        return str(anything)
    return __version__
