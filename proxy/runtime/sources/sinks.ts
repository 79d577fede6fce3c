/** Joins two receivers of one cluster. */
import type { Sink } from '../../model/sink.ts'
import type { WorkloadSink } from '../../workloads/store.ts'

/** Pods, namespaces and policies first: a service should not be there before what forbids it. */
export function bothSinks(services: Sink, workloads: WorkloadSink): Sink {
  return {
    ...services,
    ...workloads,
    reset: snapshot => {
      if (!snapshot.isDelivered) workloads.reset(snapshot)
      services.reset(snapshot)
    },
    recall: (snapshot, since) => {
      workloads.reset(snapshot)
      services.recall?.(snapshot, since)
    },
    putNamespace: namespace => {
      workloads.putNamespace(namespace)
      services.putNamespace(namespace)
    },
    dropNamespace: name => {
      workloads.dropNamespace(name)
      services.dropNamespace(name)
    },
    putPod: pod => {
      workloads.putPod(pod)
      services.putPod(pod)
    },
    dropPod: (namespace, name) => {
      workloads.dropPod(namespace, name)
      services.dropPod(namespace, name)
    },
  }
}

/** Nodes go to `nodes` too. */
export function withNodes(sink: Sink, nodes: Sink): Sink {
  return {
    ...sink,
    reset: snapshot => {
      nodes.reset(snapshot)
      sink.reset(snapshot)
    },
    recall: (snapshot, since) => {
      nodes.recall?.(snapshot, since)
      sink.recall?.(snapshot, since)
    },
    putNode: node => {
      nodes.putNode?.(node)
      sink.putNode?.(node)
    },
    dropNode: name => {
      nodes.dropNode?.(name)
      sink.dropNode?.(name)
    },
    live: () => {
      nodes.live()
      sink.live()
    },
    lost: error => {
      nodes.lost(error)
      sink.lost(error)
    },
  }
}
