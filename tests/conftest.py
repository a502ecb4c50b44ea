# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures for all tests. Each acts only in a test that asks for it."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.check import plugin
from lab.core.places import cache_root
from tests.support import front
from tests.support.recorder import Tap

pytest_addoption = plugin.pytest_addoption
pytest_configure = plugin.pytest_configure


@pytest.fixture
def run_snplab() -> Callable[..., front.Done]:
    """run_snplab(*words, env=…, cwd=…, stdin=…, timeout=…): runs ./snplab; returns its output and status."""
    return front.run_snplab


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's cache, which holds built kernels and hosts."""
    return cache_root()


@pytest.fixture
def tap(request: pytest.FixtureRequest) -> Iterator[Tap]:
    """Records results besides the test's own: tap.case(name, ok), tap.program(text, command…). At the end, a failed one
    fails the test."""
    recorder = Tap(request.node)
    yield recorder
    recorder.settle()
