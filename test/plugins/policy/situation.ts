/** A small mesh for tests of the policy plugin: Pods of two clusters, policies as YAML or objects, and questions. */
import { parseAllDocuments } from 'yaml'
import policy from '../../../plugins/policy/index.ts'
import type { Backend } from '../../../proxy/model/backend.ts'
import type { Flow } from '../../../proxy/model/flow.ts'
import type { GlobalService } from '../../../proxy/model/service.ts'
import type { Labels, NamedPort } from '../../../proxy/model/workloads/identity.ts'
import type { Plugin } from '../../../proxy/plugin.ts'
import { decodeKubernetes } from '../../../proxy/sources/decode/decode.ts'
import { type WorkloadSink, WorkloadStore } from '../../../proxy/workloads/store.ts'
import { hostParts, plugin } from '../../support/chain.ts'
import { FakeClock } from '../../support/clock.ts'
import { backend, clusterService, flow, globalService } from '../../support/model.ts'

export interface TestPod {
  readonly cluster?: string
  readonly namespace: string
  readonly name: string
  readonly address: string
  readonly labels?: Labels
  readonly ports?: readonly NamedPort[]
  readonly hostNetwork?: true
  readonly hostAddress?: string
  /** The service account; `default` if absent. */
  readonly account?: string
}

export interface Situation {
  readonly namespaces?: Readonly<Record<string, Labels>>
  readonly pods: readonly TestPod[]
  /** Of cluster-1, unless given by cluster. */
  readonly policies: readonly object[] | Readonly<Record<string, readonly object[]>>
  readonly options?: object
  readonly node?: string
  /** The addresses of this machine. */
  readonly machine?: readonly string[]
}

/** The objects of a YAML text. */
export function yaml(text: string): object[] {
  return parseAllDocuments(text).map(document => document.toJS() as object)
}

export class PolicyMesh {
  readonly store: WorkloadStore
  readonly plugin: Plugin
  readonly counters: () => Readonly<Record<string, number>>
  readonly clock = new FakeClock()
  readonly lines: [event: string, fields: unknown][] = []
  readonly #pods: ReadonlyMap<string, TestPod>
  readonly #sinks: ReadonlyMap<string, WorkloadSink>

  constructor({ namespaces = {}, pods, policies, options = {}, node, machine = [] }: Situation) {
    this.store = new WorkloadStore(run => run())
    const names = ['cluster-1', 'cluster-2']
    this.store.setClusters(names)
    this.store.setMachine(new Set(machine))
    this.#sinks = new Map(names.map(name => [name, this.store.sink(name)]))
    this.#pods = new Map(pods.map(pod => [`${pod.namespace}/${pod.name}`, pod]))
    for (const name of names) {
      for (const [namespace, labels] of Object.entries(namespaces))
        this.sink(name).putNamespace({ name: namespace, global: undefined, labels })
    }
    for (const pod of pods) this.put(pod)
    const byCluster = Array.isArray(policies) ? { 'cluster-1': policies } : (policies as Record<string, object[]>)
    for (const [cluster, objects] of Object.entries(byCluster))
      for (const object of objects) this.apply(object, cluster)
    const log = {
      debug: () => {},
      warn: () => {},
      error: () => {},
      info: (event: string, fields?: unknown) => void this.lines.push([event, fields]),
    }
    const parts = {
      ...hostParts({ clock: this.clock, log }),
      workloads: this.store,
      ...(node === undefined ? {} : { location: () => ({ node }) }),
    }
    const loaded = plugin(policy, { options, parts })
    this.plugin = loaded.plugin
    this.counters = () =>
      Object.fromEntries(loaded.counters().map(({ metric, labels, value }) => [`${metric} ${labels?.policy}`, value]))
  }

  sink(cluster = 'cluster-1'): WorkloadSink {
    return this.#sinks.get(cluster) as WorkloadSink
  }

  put(pod: TestPod): void {
    const { cluster, namespace, name, address, labels = {}, ports = [], hostNetwork, hostAddress } = pod
    const workload = { namespace, labels, account: pod.account ?? 'default', ports }
    const where = { ...(hostNetwork && { hostNetwork }), ...(hostAddress && { hostAddress }) }
    this.sink(cluster).putPod({ namespace, name, addresses: [address], workload, ...where })
  }

  apply(object: object, cluster = 'cluster-1'): void {
    const { object: decoded, faults } = decodeKubernetes(object, { workloads: true })
    if (!decoded || !('policy' in decoded)) throw new TypeError(`not a policy: ${JSON.stringify(faults)}`)
    this.sink(cluster).putPolicy({ ...decoded.policy, cluster, origin: undefined })
  }

  /** A service with one backend at a Pod. */
  serviceAt(
    pod: string,
    { port = 8080, protocol = 'TCP', ...given }: Partial<Backend> & { name?: string } = {},
  ): GlobalService {
    const found = this.#pods.get(pod)
    const [namespace = ''] = pod.split('/')
    const one = backend({
      address: found?.address ?? pod,
      cluster: found?.cluster ?? 'cluster-1',
      port,
      protocol,
      ...given,
    })
    const name = given.name ?? 'service'
    const clusterIPs = [one.family === 4 ? '10.96.0.10' : 'fd00:96::10']
    const local = clusterService({
      namespace,
      name,
      clusterIPs,
      ports: [{ name: '', protocol: one.protocol, port: 80 }],
    })
    return globalService({ local, backends: [one] })
  }

  ask(client: string, pod: string, given: Partial<Backend> & { name?: string } = {}): boolean {
    const asked = this.flow(client, this.serviceAt(pod, given))
    const { backends } = asked.frontend
    const isLeft = (this.plugin.candidates?.(asked, backends) ?? backends).length > 0
    if (isLeft !== (this.plugin.admit?.(asked.client, asked.service, 'flow') === undefined))
      throw new Error(`admit and candidates differ for ${client} to ${pod}`)
    return isLeft
  }

  flow(client: string, service: GlobalService): Flow {
    return flow(service, { client: { address: this.#pods.get(client)?.address ?? client, port: 40_000 } })
  }

  why(client: string, pod: string, given: Partial<Backend> = {}): string | undefined {
    const asked = this.flow(client, this.serviceAt(pod, given))
    return this.plugin.why?.(asked, asked.service.backends[0] as Backend)
  }
}
