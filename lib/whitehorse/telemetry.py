"""OpenTelemetry of the web process: its official SDK and instrumentations, switched on by an endpoint.

They come with the optional extra ``otel``. A request is a server span, each round trip to the database a client span.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SERVICE = "whitehorse-web"
SEND_EVERY_MS = 500
LARGEST_QUEUE = 50_000


def available() -> bool:
    """Whether the extra is installed."""
    try:
        return all(find_spec(f"opentelemetry.{name}") for name in ("sdk", "exporter", "instrumentation"))
    except ModuleNotFoundError:
        return False


def instrument(app: "ASGIApp", endpoint: str, excluded_urls: str) -> tuple["ASGIApp", Callable[[], None]]:
    """The application with its spans sent to ``endpoint`` (``http://host:port``), and what sends the last of them.

    ``excluded_urls`` is a regular expression of paths that make no span. Raises ImportError without the extra.
    """
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.instrumentation.threading import ThreadingInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.util.http import parse_excluded_urls

    session = requests.Session()
    session.trust_env = False  # a proxy of the machine's is not for loopback
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", session=session)
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=LARGEST_QUEUE, schedule_delay_millis=SEND_EVERY_MS)
    )
    PsycopgInstrumentor().instrument(tracer_provider=provider)
    ThreadingInstrumentor().instrument()  # an inline allocation is a thread of its request
    traced = OpenTelemetryMiddleware(
        app,
        excluded_urls=parse_excluded_urls(excluded_urls),
        tracer_provider=provider,
        exclude_spans=["receive", "send"],
    )
    return traced, provider.shutdown
