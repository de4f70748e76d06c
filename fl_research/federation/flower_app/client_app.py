"""A Flower ClientApp that hands every message to the site on its machine.

The SuperNode's node configuration says which: `site`, its name, `socket`, its address, and for a
port `token_file`.
"""

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fl_research.federation.flower_app import content, site_relay

app = ClientApp()

_PATIENCE = 45.0
"""Seconds after which a site that is still at work says so: to be asked again takes a process."""


@app.query()
def query(message: Message, context: Context) -> Message:
  """The site's reply."""
  node = context.node_config
  label, request = content.unpack(message.content)
  place = (str(node['site']), str(node['socket']), str(node.get('token_file', '')))
  answer = site_relay.answer(label, request, *place, patience=_PATIENCE)
  return Message(content.pack(*answer), reply_to=message)
