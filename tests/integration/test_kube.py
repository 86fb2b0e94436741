"""What the client learns from a real API server beside its answers."""

from datetime import timedelta

import pytest

from conftest import Cluster
from supercheck_operator.clock import Clock, utc_now
from supercheck_operator.kube import QUEUES, Kube, NotFoundError, configuration


@pytest.mark.parametrize("hours", [-1, 0, 1])
async def test_every_answer_tells_the_time_also_a_refusal(cluster: Cluster, hours: int) -> None:
    where = await configuration(cluster.kubeconfig, None, in_cluster=False)
    kube = Kube(where, user_agent="test")
    kube.clock = Clock(now=lambda: utc_now() + timedelta(hours=hours))
    try:
        with pytest.raises(NotFoundError):
            await kube.get(QUEUES, "no-such-queue")
    finally:
        await kube.close()
    assert abs(kube.clock.now() - utc_now()) < timedelta(seconds=4)
    assert kube.clock.stepped() == timedelta()
