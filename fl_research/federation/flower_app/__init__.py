"""The thin programs between engine and sites; they run in Flower's environment, without TensorFlow.

`server_app` is a Flower ServerApp beside the engine, `client_app` a Flower ClientApp beside a site.
Neither knows anything of what it carries. No message is on its way for longer than a minute: a site
that takes longer is asked again, by the request's id.
"""
