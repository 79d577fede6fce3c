/** Joins two receivers of one cluster. */
import type { Sink } from '../model/sink.ts'
import type { WorkloadSink } from '../workloads/store.ts'

/** Pods, namespaces and policies first: a service should not be there before what forbids it. */
export function bothSinks(services: Sink, workloads: WorkloadSink): Sink {
  return {
    ...services,
    ...workloads,
    reset: snapshot => {
      workloads.reset(snapshot)
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
