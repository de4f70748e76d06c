"""The pages of the owner and of the experimenter, and who may see them."""

import html.parser
import http.client
import urllib.parse

import pytest

from fl_research.federation import (
  audit_log,
  experimenter_page,
  loopback_page,
  owner_page,
)
from fl_research.federation import policy as policies
from fl_research.federation.guard import Guard
from fl_research.federation.proposal import Experimenter
from fl_research.registry import UsageError
from tests.federation.requested import asked, CENTRAL

_VOID = {'meta', 'input', 'rect', 'path', 'polyline', 'circle'}


class _Well(html.parser.HTMLParser):
  """Notes elements that are not closed, and what would be loaded from elsewhere."""

  def __init__(self):
    super().__init__()
    self.open, self.faults, self.text, self.tags = [], [], '', []

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.faults += [name for name, _ in attrs if name in ('src', 'href', 'onclick')]
    if tag not in _VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.tags.append(tag)

  def handle_endtag(self, tag):
    if not self.open or self.open.pop() != tag:
      self.faults.append(f'/{tag}')

  def handle_data(self, data):
    self.text += data


def _parsed(page):
  parser = _Well()
  parser.feed(page)
  parser.close()
  assert parser.faults == []
  assert parser.open == []
  assert 'script' not in parser.tags
  return parser


class _Visitor:
  """A browser, as far as the page is concerned."""

  def __init__(self, page):
    self.page, self.cookie = page, ''

  def send(self, method, path, fields=None, **headers):
    body = urllib.parse.urlencode(fields) if fields is not None else None
    sent = {'Host': f'127.0.0.1:{self.page.port}', 'Cookie': self.cookie}
    sent |= {name.replace('_', '-'): value for name, value in headers.items()}
    connection = http.client.HTTPConnection('127.0.0.1', self.page.port, timeout=10)
    connection.request(method, path, body, sent)
    response = connection.getresponse()
    content = response.read().decode()
    connection.close()
    return response, content

  def enter(self):
    target = self.page.address.partition(str(self.page.port))[2]
    response, _ = self.send('GET', target)
    assert response.status == 303
    assert response.getheader('Location') == '/'
    given = response.getheader('Set-Cookie')
    assert 'HttpOnly' in given
    assert 'SameSite=Strict' in given
    self.cookie = given.partition(';')[0]
    return self


@pytest.fixture
def folder(tmp_path):
  guard = Guard(tmp_path, policies.Policy())
  guard.propose(asked(experimenter=Experimenter('<b>Ada & co</b>'), privacy=CENTRAL))
  return tmp_path


@pytest.fixture
def page(folder):
  rules = policies.Policy(privacy=policies.PrivacyRules(most_epsilon=8.0))
  served = owner_page.serve(folder, rules)
  yield served
  served.close()


def _run_id(folder):
  return Guard(folder, policies.Policy()).requests.all()[0].run_id


def test_the_owner_reads_approves_and_takes_back(page, folder):
  visitor, run_id = _Visitor(page).enter(), _run_id(folder)
  response, content = visitor.send('GET', '/')
  parsed = _parsed(content)
  for said in ('(1) Your data', '<b>Ada & co</b>', 'Masked updates', 'The log is whole', run_id):
    assert said in parsed.text
  assert "default-src 'none'" in response.getheader('Content-Security-Policy')
  token = page.tokens['form']
  form = {'form_token': token, 'run_id': run_id, 'do': 'approve', 'said': 'fine'}
  assert visitor.send('POST', '/', form)[0].status == 303
  request = Guard(folder, policies.Policy()).requests.get(run_id)
  assert (request.status, request.note) == ('approved', 'fine')
  guard = Guard(folder, policies.Policy())
  guard.admit(run_id, 'masked updates', 1)
  parsed = _parsed(visitor.send('GET', '/')[1])
  assert 'heart_disease: epsilon' in parsed.text
  assert 'admitted' in parsed.text
  response, content = visitor.send('POST', '/', {**form, 'do': 'deny', 'said': ' '})
  assert response.status == 409
  assert 'A denial needs a reason' in _parsed(content).text
  visitor.send('POST', '/', {**form, 'do': 'deny', 'said': 'The study is over.'})
  assert Guard(folder, policies.Policy()).requests.get(run_id).status == 'denied'


@pytest.mark.parametrize(
  'changes, headers',
  [
    ({'form_token': 'x'}, {}),
    ({}, {'Cookie': ''}),
    ({}, {'Cookie': 'page=x; \x01'}),
    ({}, {'Host': 'evil.example'}),
    ({}, {'Host': '127.0.0.1'}),
    ({}, {'Origin': 'http://evil.example'}),
    ({}, {'Origin': 'null'}),
    ({}, {'Content_Length': '999999'}),
    ({}, {'Content_Length': '-1'}),
  ],
)
def test_nobody_else_posts(page, folder, changes, headers):
  visitor, run_id = _Visitor(page).enter(), _run_id(folder)
  form = {'form_token': page.tokens['form'], 'run_id': run_id, 'do': 'approve', **changes}
  assert visitor.send('POST', '/', form, **headers)[0].status == 403
  assert Guard(folder, policies.Policy()).requests.get(run_id).status == 'waiting'


def test_nobody_else_reads(page):
  visitor = _Visitor(page)
  refused = [
    visitor.send('GET', '/'),
    visitor.send('GET', '/?token=x'),
    visitor.send('GET', '/?token=%C3%A4'),
    _Visitor(page).enter().send('GET', '/', Host='evil.example'),
    _Visitor(page).enter().send('GET', '/other'),
  ]
  for response, content in refused:
    assert response.status in (403, 404)
    assert content == 'Open the address that the terminal shows.\n'
    assert response.getheader('Set-Cookie') is None


def test_a_browser_that_says_where_it_comes_from_is_let_in(page, folder):
  form = {'form_token': page.tokens['form'], 'run_id': _run_id(folder), 'do': 'approve'}
  own = {'Origin': f'http://localhost:{page.port}', 'Host': f'localhost:{page.port}'}
  assert _Visitor(page).enter().send('POST', '/', form, **own)[0].status == 303


def test_a_broken_log_is_shown(page, folder):
  path = folder / 'audit.log'
  path.write_bytes(path.read_bytes().replace(b'waiting', b'allowed'))
  lines = len(list(audit_log.entries(path)))
  parsed = _parsed(_Visitor(page).enter().send('GET', '/')[1])
  assert 'The log is broken' in parsed.text
  assert f'line {lines} is not the one that the head file names' in parsed.text


def test_what_cannot_be_shown_is_one_line(page, folder):
  (folder / 'budget.json').write_text('{')
  parsed = _parsed(_Visitor(page).enter().send('GET', '/')[1])
  assert 'budget.json: is not JSON' in parsed.text


def test_a_port_that_is_taken_is_named(page, folder):
  with pytest.raises(UsageError, match=f'--port={page.port}: cannot be listened at'):
    owner_page.serve(folder, policies.Policy(), page.port)


def test_a_denied_request_has_no_button_to_approve(tmp_path):
  guard = Guard(tmp_path, policies.Policy())
  guard.propose(asked())
  stricter = Guard(tmp_path, policies.Policy(data=policies.Data(sets=())))
  _, body = owner_page.render(stricter, 'token')
  assert 'cannot be approved' in body
  assert '>Approve<' not in body
  assert '>Deny<' in body


def _experimenter(tmp_path, **changes):
  sites = (
    experimenter_page.SiteState('<north>', True, 3.0, 'approved', 120, 40_000),
    experimenter_page.SiteState('south', False, None),
  )
  state = experimenter_page.RunState('hospitals', 10, sites, **changes)
  title, body = experimenter_page.render(state, tmp_path / 'metrics.csv')
  assert loopback_page.text('<north>') in body
  _parsed(body)
  return title, body


def test_the_experimenter_sees_sites_rounds_curves_and_refusals(tmp_path):
  (tmp_path / 'metrics.csv').write_text(
    'round,eval/loss,eval/accuracy,train/loss\n0,2.3,0.1,\n1,1.5,0.5,2\n2,nan,0.75,1\n3,0.1,0.'
  )
  title, body = _experimenter(tmp_path, refusals=[('south', 'too few rows <are> behind it')])
  assert title == '2/10 hospitals'
  for said in ('2 of 10', '1 of 2', '3 s ago', 'never', '40,000', '&lt;are&gt;'):
    assert said in body
  assert body.count('<polyline') == 3
  assert 'eval/accuracy: 0.75' in body
  assert 'eval/loss: 1.5' in body


def test_before_the_first_round_there_are_no_curves(tmp_path):
  title, body = _experimenter(tmp_path)
  assert title == '0/10 hospitals'
  assert 'No round has ended yet' in body
  assert 'Nothing.' in body


def test_a_curve_of_one_point_and_of_equal_values_is_drawn():
  for values in ([(0.0, 0.0)], [(0.0, -2.0), (5.0, -2.0)]):
    _parsed(experimenter_page.curve('loss', values))


def test_the_experimenters_page_is_served(tmp_path):
  state = experimenter_page.RunState('hospitals', 10)
  served = experimenter_page.serve(lambda: state, tmp_path / 'metrics.csv')
  try:
    visitor = _Visitor(served).enter()
    content = visitor.send('GET', '/')[1]
    assert 'http-equiv="refresh"' in content
    assert 'hospitals' in _parsed(content).text
    form = {'form_token': served.tokens['form'], 'do': 'approve'}
    assert visitor.send('POST', '/', form)[0].status == 403
  finally:
    served.close()
