# SPDX-License-Identifier: GPL-2.0-only
"""The fixtures that all tests share. None of them acts by itself."""
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
    """run_snplab(*words, env=…, cwd=…, stdin=…, timeout=…): what ./snplab said, and its status."""
    return front.run_snplab


@pytest.fixture(scope="session")
def cache() -> Path:
    """The folder of the user's own cache, in which kernels and hosts are built already."""
    return cache_root()


@pytest.fixture
def tap(request: pytest.FixtureRequest) -> Iterator[Tap]:
    """Records results besides the test's own: tap.case(name, ok), tap.program(text, command…). One that failed fails the
    test, when the fixture ends."""
    recorder = Tap(request.node)
    yield recorder
    recorder.settle()
