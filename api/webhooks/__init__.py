"""Webhooks: what happens to searches, told to other programs over HTTP, signed and never lost.

`news` finds what there is to tell, `dispatcher` delivers it, `messages` says what is in a delivery, `signing` how a
receiver knows that it is genuine, `addresses` and `sending` keep a delivery from reaching what only this machine
can reach. docs/webhooks.md is what an owner of a receiver reads.
"""

from api.webhooks.addresses import AddressGuard
from api.webhooks.dispatcher import WebhookDispatcher
from api.webhooks.messages import Message, WebhookKind, message_of, ping
from api.webhooks.sending import Delivery, deliver
from api.webhooks.signing import make_secret, sign, verify

__all__ = [
    "AddressGuard",
    "Delivery",
    "Message",
    "WebhookDispatcher",
    "WebhookKind",
    "deliver",
    "make_secret",
    "message_of",
    "ping",
    "sign",
    "verify",
]
