"""The thin programs between engine and sites; they run in Flower's environment, without TensorFlow.

`server_app` is a Flower ServerApp beside the engine, `client_app` a Flower ClientApp beside a site.
Neither knows anything of what it carries. No message waits at a site for longer than a minute: one
that takes longer is asked again, by the request's id. `site_node` takes the place of the ClientApp
where nobody's code is to be run, and `gate` stands before SuperLink.
"""
