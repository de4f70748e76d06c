"""The only part of a SuperLink that others can reach: what nodes say to it.

A SuperLink has one port for everything: for nodes, but also for the command `flwr`, which may
register keys and start programs on SuperLink's machine, and is not asked who it is. So SuperLink
listens on its own machine only, and this gate, with the certificate, lets through what begins with
`/v1/fleet/`, where every call is signed by a node's key, and nothing else.
"""

import argparse
from collections.abc import Iterable
import re

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
import uvicorn

_LIMIT = 64 << 20
"""Bytes of a call at most; Flower cuts what is longer than 5 MB."""

_CALL = re.compile(r'[a-z-]{1,64}')
_OF_A_CONNECTION = frozenset(
  ('connection', 'content-length', 'host', 'keep-alive', 'te', 'trailer', 'transfer-encoding')
)


def make_app(superlink: httpx.AsyncClient) -> Starlette:
  """What forwards nodes' calls to a SuperLink."""

  async def forward(request: Request) -> Response:
    call = request.path_params['call']
    if not _CALL.fullmatch(call):
      return Response(status_code=404)
    body = bytearray()
    async for part in request.stream():
      body += part
      if len(body) > _LIMIT:
        return Response(status_code=413)
    try:
      answer = await superlink.post(
        f'/v1/fleet/{call}', content=bytes(body), headers=_passed_on(request.headers.items())
      )
    except httpx.TransportError:
      return Response(status_code=503)
    return Response(answer.content, answer.status_code, _passed_on(answer.headers.items()))

  return Starlette(routes=[Route('/v1/fleet/{call}', forward, methods=['POST'])])


def _passed_on(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
  # httpx has unpacked what was compressed.
  left = _OF_A_CONNECTION | {'content-encoding', 'accept-encoding'}
  return {name: value for name, value in headers if name.lower() not in left}


def main() -> None:
  """Forwards calls until it is stopped."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('--host', required=True)
  parser.add_argument('--port', type=int, required=True)
  for flag in ('superlink', 'certificate', 'key', 'authority'):
    parser.add_argument(f'--{flag}', required=True)
  arguments = parser.parse_args()
  superlink = httpx.AsyncClient(
    base_url=f'https://{arguments.superlink}',
    verify=arguments.authority,
    timeout=60.0,
    trust_env=False,
  )
  uvicorn.run(
    make_app(superlink),
    host=arguments.host,
    port=arguments.port,
    ssl_certfile=arguments.certificate,
    ssl_keyfile=arguments.key,
    access_log=False,
    log_level='warning',
    server_header=False,
    limit_concurrency=512,
  )


if __name__ == '__main__':
  main()
