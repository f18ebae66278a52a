"""One warm kernel for several notebooks: starting one and importing takes seconds."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync


class _Kernel(AsyncKernelManager):
    """Remembers its clients: nbclient closes its connection only to a kernel that it has started for itself.

    It is spoken to by sockets in ``folder``: of ports chosen for it another program can take one before it has started.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")
        self.clients: list[AsyncKernelClient] = []

    def client(self, **options: Any) -> AsyncKernelClient:  # type: ignore[override]
        self.clients.append(super().client(**options))
        return self.clients[-1]


@contextmanager
def warm_kernel() -> Iterator[AsyncKernelManager]:
    """A kernel that the first notebook starts and the last one leaves behind for us to end.

    For a thread of its own: the event loop that talks to it ends with it.
    """
    # A socket's path must be short, and the place for temporary files can be a long one.
    with TemporaryDirectory(prefix="slotfill-", dir="/tmp") as folder, closing(ensure_event_loop()):
        kernel = _Kernel(folder)
        try:
            yield kernel
        finally:
            for client in kernel.clients:
                client.stop_channels()
            if kernel.has_kernel:
                # A graceful shutdown stalls for seconds now and then, and our kernels have nothing to clean up.
                run_sync(kernel.shutdown_kernel)(now=True)
