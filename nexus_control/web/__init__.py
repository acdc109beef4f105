"""The inbox: pages on which approvers read requests and decide them with a passkey.

    from nexus_control.web import create_app

    app = create_app(store, origins=["https://approve.example.org"], rp_id="approve.example.org", reader_token=token)

`app` is a Starlette application: run it with uvicorn, or mount it in another one. `nexus-control inbox` does the first.
Only this package imports starlette and uvicorn.
"""

from nexus_control.web.app import create_app

__all__ = ["create_app"]
