"""What a monitoring system asks for, in Prometheus' own format at ``/metrics``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from finewhisper.audio import Seconds


class Metrics:
    """The counters of one server; a registry of their own, so that a process may hold several servers."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("finewhisper_requests", "Requests answered.", ["method", "route", "status"], registry=registry)
        self._took = Histogram(
            "finewhisper_request_seconds",
            "From the first byte of a request to the last of its answer.",
            ["route"],
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
            registry=registry,
        )
        self._batches = Histogram("finewhisper_batch_windows", "Windows decoded together.", buckets=(1, 2, 4, 8, 16, 32), registry=registry)
        self._heard = Counter("finewhisper_audio_seconds", "Seconds of audio decoded.", registry=registry)
        self._jobs = Counter("finewhisper_jobs_finished", "Jobs that are done or have failed.", ["state"], registry=registry)

    def watch(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A number that is read whenever somebody asks."""
        Gauge(f"finewhisper_{name}", help_text, registry=self.registry).set_function(value)

    def watch_each(self, name: str, help_text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        """Numbers that belong together, by the values of a label; read together whenever somebody asks, in a thread that may wait."""
        self.registry.register(_Together(f"finewhisper_{name}", help_text, label, values))

    def answered(self, method: str, route: str, status: int, took_s: Seconds) -> None:
        self._requests.labels(method, route, str(status)).inc()
        self._took.labels(route).observe(took_s)

    def finished(self, state: str) -> None:
        """A job is done, or has failed."""
        self._jobs.labels(state).inc()

    def decoded(self, windows: int, audio_s: Seconds) -> None:
        """A batch; called in the worker's thread."""
        self._batches.observe(windows)
        self._heard.inc(audio_s)


class _Together(Collector):
    def __init__(self, name: str, help_text: str, label: str, values: Callable[[], Mapping[str, float]]) -> None:
        self._name, self._help_text, self._label, self._values = name, help_text, label, values

    def collect(self) -> Iterable[GaugeMetricFamily]:
        gauge = GaugeMetricFamily(self._name, self._help_text, labels=[self._label])
        for of, value in self._values().items():
            gauge.add_metric([of], value)
        return [gauge]


def routes(metrics: Metrics) -> APIRouter:
    """``/metrics``."""
    router = APIRouter(tags=["health"])

    @router.get("/metrics", summary="Counters for Prometheus", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    def show() -> Response:  # in a thread: some numbers are on a disk
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
