"""A page that is served to one person on this machine, and to nobody else.

Other users of the machine, and other pages in the same browser, are kept out by

- the loopback interface: nothing listens on the network;
- a random token in the address that is printed, exchanged at the first visit for a cookie that no
  script reads (HttpOnly) and no other site's page sends (SameSite);
- the Host header, which must be this address: a name that somebody has resolve to 127.0.0.1 (DNS
  rebinding) is refused;
- a second token in each form, and the Origin header, so that no other page posts one;
- a Content-Security-Policy under which the page loads nothing and runs no script.

Whoever can read this process's memory or output can do what it can.
"""

from collections.abc import Callable, Mapping
import hmac
import html
import http
import http.cookies
import http.server
import secrets
import threading
from typing import Optional
import urllib.parse

from fl_research.analysis import page_style
from fl_research.registry import UsageError

_HOST = '127.0.0.1'
_LONGEST_FORM = 20_000
_SECONDS = 10.0
_LOOK_SECONDS = 0.1  # how often the server looks whether it is to end
# With no-referrer browsers would send no Origin with forms.
_REFERRER = 'same-origin'

FORM_TOKEN = 'form_token'
"""The name of the field that every form must have (`form_fields`)."""

_STYLE = """
form { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; margin: .5rem 0; }
input[type=text] { flex: 1 1 16rem; max-width: 32rem; padding: .4rem .6rem; font: inherit;
  color: inherit; background: var(--page); border: 1px solid var(--line); border-radius: .4rem; }
button { font: inherit; padding: .4rem 1rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--panel); color: inherit; cursor: pointer; }
button.yes { background: var(--best); } button.no { background: var(--warn); }
button:focus-visible, input:focus-visible { outline: 2px solid var(--accent); }
article { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .8rem 1.1rem; margin: .8rem 0; }
article h3 { margin-top: .2rem; } dt { font-weight: 600; margin-top: .6rem; }
dd { margin: .1rem 0 .1rem 1.2rem; overflow-wrap: anywhere; }
.good { background: var(--best); border-radius: .4rem; padding: .45rem .8rem; margin: .4rem 0; }
svg { max-width: 100%; } pre { white-space: pre-wrap; font-size: .85rem; }
"""

Render = Callable[[str], tuple[str, str]]
"""From the token that forms need to the page's title and body, as HTML."""

Act = Callable[[Mapping[str, str]], None]
"""Does what a form asks for; `UsageError` for what cannot be done, which the page then shows."""


class LoopbackPage:
  """A server of one page, from the making of this object until `close`.

  Args:
    render: makes the page, anew at each visit.
    act: does what its forms ask for; None when it has none.
    port: where it listens; any free one when 0.
    refresh_seconds: after how long browsers load it again; never when 0.

  Attributes:
    address: what its one visitor opens, with the token.

  Raises:
    UsageError: the port is taken.
  """

  def __init__(
    self, render: Render, act: Optional[Act] = None, port: int = 0, refresh_seconds: int = 0
  ):
    self.render, self.act, self.refresh_seconds = render, act, refresh_seconds
    self.tokens = {name: secrets.token_urlsafe(32) for name in ('address', 'cookie', 'form')}
    handler = type('Handler', (_Handler,), {'page': self})
    try:
      self._server = http.server.ThreadingHTTPServer((_HOST, port), handler)
    except (OSError, OverflowError) as error:
      raise UsageError(f'--port={port}: cannot be listened at ({error})') from error
    self.port = self._server.server_address[1]
    self.address = f'http://{_HOST}:{self.port}/?token={self.tokens["address"]}'
    self._thread = threading.Thread(
      target=self._server.serve_forever, args=(_LOOK_SECONDS,), daemon=True
    )
    self._thread.start()

  def close(self) -> None:
    """Ends the server."""
    self._server.shutdown()
    self._server.server_close()
    self._thread.join()

  def document(self, complaint: str = '') -> str:
    """The page, below what went wrong."""
    try:
      title, body = self.render(self.tokens['form'])
    except UsageError as error:
      title, body = 'Not available', f'<h1>Not available</h1><p class="note">{text(error)}</p>'
    if complaint:
      body = f'<p class="note">{text(complaint)}</p>{body}'
    refresh = f'<meta http-equiv="refresh" content="{self.refresh_seconds}">'
    return (
      '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
      '<meta name="viewport" content="width=device-width, initial-scale=1">'
      f'{refresh if self.refresh_seconds else ""}<title>{text(title)}</title>'
      f'<style>{page_style.STYLE}{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
    )


def text(value: object) -> str:
  """Text as HTML has it."""
  return html.escape(str(value))


def form_fields(token: str, **hidden: str) -> str:
  """The fields of a form that nobody sees, the token among them."""
  fields = {FORM_TOKEN: token, **hidden}
  return ''.join(
    f'<input type="hidden" name="{text(name)}" value="{text(value)}">'
    for name, value in fields.items()
  )


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers one visitor."""

  page: LoopbackPage
  timeout = _SECONDS
  server_version = 'page'
  sys_version = ''

  def do_GET(self) -> None:
    """Shows the page, or gives the cookie to whoever has the address."""
    target = urllib.parse.urlsplit(self.path)
    if not self._is_this_host() or target.path != '/':
      return self._refuse(http.HTTPStatus.NOT_FOUND)
    given = urllib.parse.parse_qs(target.query).get('token', [''])[0]
    if given and _same(given, self.page.tokens['address']):
      return self._redirect(with_cookie=True)
    if not self._has_cookie():
      return self._refuse(http.HTTPStatus.FORBIDDEN)
    return self._answer(http.HTTPStatus.OK, self.page.document())

  def do_POST(self) -> None:
    """Does what a form of the page asks for, and shows the page again."""
    fields = self._form()
    if fields is None or self.page.act is None:
      return self._refuse(http.HTTPStatus.FORBIDDEN)
    try:
      self.page.act(fields)
    except UsageError as error:
      return self._answer(http.HTTPStatus.CONFLICT, self.page.document(str(error)))
    return self._redirect()

  def log_message(self, format: str, *args: object) -> None:
    """Says nothing: the terminal is the owner's."""
    del format, args

  def _form(self) -> Optional[dict[str, str]]:
    """The fields of a form that this page has shown; None for any other."""
    length = self.headers.get('Content-Length', '')
    if not length.isdecimal() or int(length) > _LONGEST_FORM:
      return None
    content = self.rfile.read(int(length))
    own = f'http://{self.headers.get("Host", "")}'
    if self.path != '/' or self.headers.get('Origin', own) != own:
      return None
    if not self._is_this_host() or not self._has_cookie():
      return None
    try:
      fields = dict(urllib.parse.parse_qsl(content.decode(), max_num_fields=20))
    except ValueError:
      return None
    return fields if _same(fields.get(FORM_TOKEN, ''), self.page.tokens['form']) else None

  def _is_this_host(self) -> bool:
    names = (f'{_HOST}:{self.page.port}', f'localhost:{self.page.port}')
    return self.headers.get('Host', '') in names

  def _has_cookie(self) -> bool:
    try:
      cookies = http.cookies.SimpleCookie(self.headers.get('Cookie', ''))
    except http.cookies.CookieError:
      return False
    own = cookies.get(self._cookie_name)
    return own is not None and _same(own.value, self.page.tokens['cookie'])

  @property
  def _cookie_name(self) -> str:
    # Cookies are shared by all ports of a host.
    return f'page_{self.page.port}'

  def _redirect(self, with_cookie: bool = False) -> None:
    self.send_response(http.HTTPStatus.SEE_OTHER)
    self.send_header('Location', '/')
    if with_cookie:
      cookie = f'{self._cookie_name}={self.page.tokens["cookie"]}'
      self.send_header('Set-Cookie', f'{cookie}; HttpOnly; SameSite=Strict; Path=/')
    self.send_header('Referrer-Policy', _REFERRER)
    self.send_header('Content-Length', '0')
    self.end_headers()

  def _refuse(self, status: http.HTTPStatus) -> None:
    self._answer(status, 'Open the address that the terminal shows.\n', 'text/plain')

  def _answer(self, status: http.HTTPStatus, content: str, kind: str = 'text/html') -> None:
    body = content.encode()
    self.send_response(status)
    policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
    headers = {
      'Content-Type': f'{kind}; charset=utf-8',
      'Content-Length': str(len(body)),
      'Content-Security-Policy': f"{policy}; base-uri 'none'; frame-ancestors 'none'",
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': _REFERRER,
      'Cache-Control': 'no-store',
    }
    for name, value in headers.items():
      self.send_header(name, value)
    self.end_headers()
    self.wfile.write(body)


def _same(a: str, b: str) -> bool:
  return hmac.compare_digest(a.encode(), b.encode())
