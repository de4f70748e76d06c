"""Secure aggregation: a server learns the sum of its clients' vectors, and of none of them more.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth 2017, "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", and, for clients that talk to few others
instead of to all, Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, "Secure Single-Server Aggregation
with (Poly)Logarithmic Overhead".

Client u sends y_u = x_u + PRG(b_u) + Σ_v ± PRG(s_uv) mod 2^b. The s_uv are agreed on by pairs, one
of which adds what the other subtracts; b_u is its own. Both secrets of each client are shared among
its neighbours, so that the server gets back s of whoever fell silent, or b of whoever did not.

`client.Client` and `server.Server` are the two state machines, from bytes to bytes; `session.run`
is both sides in memory. Nothing here needs TensorFlow, TFF or a network.
"""
