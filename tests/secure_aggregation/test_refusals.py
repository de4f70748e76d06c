"""What clients and server refuse, each in one line."""

import dataclasses
import struct

import pytest

from fl_research.secure_aggregation import messages, parameters
from fl_research.secure_aggregation.errors import Aborted, ProtocolError
from fl_research.secure_aggregation.messages import Kind
from fl_research.secure_aggregation.steps import Step
from tests.secure_aggregation import sessions

UNSIGNED = sessions.of()
SIGNED = sessions.of(4, signed=True)


def _at(step, session=UNSIGNED, silent=()):
  parties = sessions.Parties(session, 5)
  parties.go_on(step, silent)
  return parties


def _rows(record, message):
  return messages.unpack(record, message[messages.HEADER_BYTES :])


def _refuses(action, words):
  with pytest.raises(ProtocolError, match=words) as refused:
    action()
  assert '\n' not in str(refused.value)


def _message(kind, client, record, rows, session=UNSIGNED):
  body = b''.join(record.pack(*row) for row in rows)
  return messages.write(kind, session, client, body)


@pytest.mark.parametrize(
  'other, words',
  [
    (sessions.of(round_num=4), 'is of round 4, not of 5'),
    (dataclasses.replace(UNSIGNED, session=bytes(16)), 'is of another session'),
  ],
)
def test_a_message_of_another_round_or_session(other, words):
  parties, elsewhere = _at(Step.SHARE), _at(Step.SHARE, other)
  replayed = elsewhere.told[0]
  _refuses(lambda: parties.clients[0].share(replayed), words)
  _refuses(lambda: parties.server.receive(elsewhere.answer(1)), words)
  assert parties.server.receive(parties.answer(1)) == 1


def test_a_message_again_and_one_of_whoever_was_not_asked():
  parties = _at(Step.SHARE, silent=[3])
  parties.server.receive(shares := parties.answer(0))
  _refuses(lambda: parties.server.receive(shares), 'client 0: has sent its message already')
  stranger = messages.write(Kind.SHARES, UNSIGNED, 3, b'')
  _refuses(lambda: parties.server.receive(stranger), 'client 3: is not waited for')
  _refuses(lambda: parties.server.receive(b'SAG1'), '4 bytes is shorter than its header')
  old = messages.write(Kind.KEYS, UNSIGNED, 1, bytes(64))
  _refuses(lambda: parties.server.receive(old), r'of kind 1, expected is 3 \(SHARES\)')
  _refuses(lambda: parties.server.receive(b'????' + old[4:]), 'is none of this protocol')


def test_messages_of_the_wrong_size():
  bodies = {
    Step.ADVERTISE: (Kind.KEYS, 'its keys take 3 bytes'),
    Step.SHARE: (Kind.SHARES, 'its shares are not for its neighbours'),
    Step.MASK: (Kind.MASKED, 'the vector takes 3 bytes, not 26'),
    Step.REVEAL: (Kind.REVEAL, 'a list of 3 bytes is not one of 38 bytes each'),
  }
  for step, (kind, words) in bodies.items():
    server = _at(step).server
    short = messages.write(kind, UNSIGNED, 0, bytes(3))
    _refuses(lambda server=server, short=short: server.receive(short), words)


def test_steps_out_of_order():
  parties = sessions.Parties(UNSIGNED, 3)
  client = parties.clients[0]
  _refuses(lambda: client.share(b''), 'was asked to share; what is next is advertise')
  client.advertise()
  _refuses(client.advertise, 'was asked to advertise; what is next is share')
  _refuses(parties.server.sum, 'the sum is not known before')


def test_a_public_key_twice():
  parties = _at(Step.SHARE)
  rows = _rows(messages.PUBLIC_KEYS, parties.told[0])
  copied = [*rows[:-1], (rows[-1][0], rows[-1][1], rows[0][2])]
  roster = _message(Kind.ROSTER, 0, messages.PUBLIC_KEYS, copied)
  _refuses(lambda: parties.clients[0].share(roster), 'has a public key twice')
  _refuses(lambda: parties.clients[0].share(roster), 'what is next is refused')


def test_a_client_twice():
  parties = _at(Step.SHARE)
  rows = _rows(messages.PUBLIC_KEYS, parties.told[0])
  roster = _message(Kind.ROSTER, 0, messages.PUBLIC_KEYS, [rows[0], *rows])
  _refuses(lambda: parties.clients[0].share(roster), 'has a client twice')


def test_rosters_with_oneself_too_many_or_too_few():
  rows = _rows(messages.PUBLIC_KEYS, _at(Step.SHARE).told[0])
  roster = lambda rows, **other: _message(
    Kind.ROSTER, 0, messages.PUBLIC_KEYS, rows, sessions.of(**other)
  )
  client = _at(Step.SHARE).clients[0]
  oneself = roster([(0, *rows[0][1:]), *rows[1:]])
  _refuses(lambda: client.share(oneself), 'this client among its own neighbours')
  client = _at(Step.SHARE, sessions.of(degree=2)).clients[0]
  _refuses(lambda: client.share(roster(rows)), 'has 4 neighbours; agreed were 2')
  client = _at(Step.SHARE).clients[0]
  with pytest.raises(Aborted, match='client 0: 2 are left, itself and neighbours; needed are 3'):
    client.share(roster(rows[:1]))


def test_shares_that_were_meant_for_another_or_changed():
  parties = _at(Step.MASK)
  rows = _rows(messages.ENCRYPTED, parties.told[0])
  swapped = [(a[0], b[1]) for a, b in zip(rows, reversed(rows))]
  mail = _message(Kind.MAIL, 0, messages.ENCRYPTED, swapped)
  vector = parties.vectors[0]
  _refuses(
    lambda: parties.clients[0].mask(mail, vector), 'from client 1: the shares cannot be decrypted'
  )
  stranger = _message(Kind.MAIL, 1, messages.ENCRYPTED, [(9, rows[0][1])])
  _refuses(lambda: parties.clients[1].mask(stranger, vector), 'client 9 is none of its neighbours')


def _reveals(parties, client, kind, rows, session=UNSIGNED):
  message = _message(kind, client, messages.CLIENT, [(row,) for row in rows], session)
  return lambda: parties.clients[client].reveal(message)


def test_a_server_that_asks_for_both_secrets_of_a_client():
  """Once as of a survivor, once as of one that has fallen silent: the second time is refused."""
  parties = _at(Step.REVEAL)
  _reveals(parties, 0, Kind.SURVIVORS, range(5))()
  _refuses(
    _reveals(parties, 0, Kind.SURVIVORS, [0, 1, 2, 3]),
    'client 0: was asked to reveal; what is next is done',
  )


def test_lists_of_survivors_that_cannot_be():
  parties = _at(Step.REVEAL, silent=[4])
  _refuses(_reveals(parties, 0, Kind.SURVIVORS, [1, 2, 3]), 'is not among the survivors')
  _refuses(_reveals(parties, 1, Kind.SURVIVORS, [0, 1, 2, 4]), 'client 4 survives, and has sent no')
  with pytest.raises(Aborted, match='2 are left'):
    _reveals(parties, 2, Kind.SURVIVORS, [1, 2])()


@pytest.mark.parametrize('silent', [[], [4]])
def test_a_wrong_share(silent):
  """Client 0's share of client 4's secret, whichever is restored, is another number."""
  parties = _at(Step.MASK)
  parties.go_on(Step.REVEAL, silent)
  for client in sorted(parties.told):
    message = parties.answer(client)
    if client == 0:
      rows = _rows(messages.REVEALED, message)
      rows[-1] = (*rows[-1][:2], struct.pack('!33x'))
      message = _message(Kind.REVEAL, 0, messages.REVEALED, rows)
    parties.server.receive(message)
  which = 'mask key' if silent else 'seed'
  _refuses(
    parties.server.close, f'client 4: (wrong shares were given of its {which}|the shares are not)'
  )
  _refuses(parties.server.sum, 'the sum is not known')


def test_shares_that_were_not_asked_for():
  parties = _at(Step.REVEAL)
  rows = _rows(messages.REVEALED, parties.answer(0))
  other = [(client, 1 - secret, share) for client, secret, share in rows]
  message = _message(Kind.REVEAL, 0, messages.REVEALED, other)
  _refuses(lambda: parties.server.receive(message), 'client 0: its shares are not those that were')


def test_forged_keys():
  parties = _at(Step.SHARE, SIGNED)
  rows = _rows(messages.SIGNED_KEYS, parties.told[0])
  rows[0] = (rows[0][0], bytes(32), *rows[0][2:])
  roster = _message(Kind.ROSTER, 0, messages.SIGNED_KEYS, rows, SIGNED)
  _refuses(
    lambda: parties.clients[0].share(roster), "client 0: client 1's signature is not its own"
  )
  rows[0] = (9, *rows[1][1:])
  roster = _message(Kind.ROSTER, 1, messages.SIGNED_KEYS, sorted(rows), SIGNED)
  del parties.clients[1]._identity.directory[9 - 5]
  _refuses(lambda: parties.clients[1].share(roster), 'is not in the directory')


def test_a_server_that_tells_two_stories():
  """Client 0 signs that all are left, the others that client 4 is not: 0 reveals nothing."""
  parties = _at(Step.CONSENT, SIGNED)
  told = lambda c, rows: _message(Kind.SURVIVORS, c, messages.CLIENT, [(r,) for r in rows], SIGNED)
  stories = {c: range(5) if c == 0 else range(4) for c in range(4)}
  signed = [parties.clients[c].consent(told(c, stories[c])) for c in stories]
  rows = [(c, own[messages.HEADER_BYTES :]) for c, own in zip(stories, signed)]
  consents = lambda c, rows: _message(Kind.CONSENTS, c, messages.CONSENT, rows, SIGNED)
  _refuses(
    lambda: parties.clients[0].reveal(consents(0, rows)), "client 1's signature is not its own"
  )
  _refuses(
    lambda: parties.clients[1].reveal(consents(1, [*rows[1:], (4, rows[0][1])])),
    'client 4 has signed, and is no survivor',
  )


def test_a_threshold_with_which_two_stories_could_be_told():
  parties = _at(Step.SHARE, sessions.of(3, signed=True))
  _refuses(lambda: parties.answer(0), 'a threshold of 3 is not above two thirds of 5')


@pytest.mark.parametrize(
  'wrong, words',
  [
    ({'session': b'short'}, 'session: 5 bytes; accepted are 16'),
    ({'round_num': -1}, 'round_num: -1'),
    ({'size': 0}, 'size: 0; accepted is a whole number from 1'),
    ({'bits': 65}, 'bits: 65; accepted is a whole number from 1 to 64'),
    ({'threshold': 1}, 'threshold: 1; accepted is a whole number from 2'),
    ({'degree': 3}, 'degree: 3; accepted is an even number from 2'),
    ({'degree': 2, 'threshold': 4}, 'threshold: 4; accepted is degree'),
    ({'degree': 4, 'signed': True}, 'signed: only without degree'),
  ],
)
def test_parameters_that_make_no_session(wrong, words):
  fine = {'session': bytes(16), 'round_num': 0, 'size': 1, 'bits': 8, 'threshold': 2}
  with pytest.raises(ValueError, match=words):
    parameters.Parameters(**{**fine, **wrong})
