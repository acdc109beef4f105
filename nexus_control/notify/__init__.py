"""Tells people and programs what happens to requests: the sinks of `[[notify]]`, and the delivery to them.

    configuration --> reading    the sinks, strictly decoded
    log           --> messages   which events are told, and what of them goes out
    delivering                   one sink: its cursor, its lease, its pauses, what it was not told
    webhooks, programs           how one message is sent

The log of the store is the outbox. So nothing that decides waits for a sink, and nothing is lost while one is away.
Delivery is at least once, in the order of the log.
"""
