/**
 * What policies cost: nanoseconds of `choose` with and without the plugin `policy`, in pairs, and the memory of 50,000 Pods, read from an API server and
 * from etcd. Run:
 * npm run bench:policy
 */

import type { Flow } from '../proxy/model/flow.ts'
import { silentLog } from '../proxy/model/log.ts'
import type { PolicyObject } from '../proxy/model/workloads/policy-object.ts'
import { decodeKubernetes } from '../proxy/sources/decode/decode.ts'
import { decodeAddress, decodeIdentity } from '../proxy/sources/etcd/decode-identities.ts'
import type { ClusterObject } from '../proxy/sources/objects.ts'
import { ServiceAssembler } from '../proxy/sources/service-assembler.ts'
import { WorkloadStore } from '../proxy/workloads/store.ts'
import { commandLine } from '../scripts/command-line.ts'
import { backendsOf, chainOf, flowTo, measure, serviceOf } from './choose-fixture.ts'

commandLine(import.meta.url, {})

const rounds = 7
const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)] as number

await cost()
for (const kinds of [2000, 50_000]) {
  memory(`Pods of ${kinds.toLocaleString('en')} kinds`, podsOf(kinds))
  memory(`records of etcd, with ${kinds.toLocaleString('en')} identities`, recordsOf(kinds))
}

/** 1,000 client Pods of 20 kinds, 100 services of 10 backends, 50 policies. */
async function cost(): Promise<void> {
  const store = new WorkloadStore(run => run())
  store.setClusters(['cluster-1', 'cluster-2'])
  const services = Array.from({ length: 100 }, (_, n) => serviceOf(n, backendsOf(10, n * 10)))
  for (const cluster of ['cluster-1', 'cluster-2']) {
    const sink = store.sink(cluster)
    for (const [i, { address }] of backendsOf(1000, 0).entries()) {
      const workload = {
        namespace: 'default',
        labels: { app: `server-${Math.floor(i / 10)}` },
        account: 'a',
        ports: [],
      }
      sink.putPod({ namespace: 'default', name: `server-${i}`, addresses: [address], workload })
    }
    for (let i = 0; i < 1000; i++) {
      const workload = { namespace: 'default', labels: { app: `client-${i % 20}` }, account: 'a', ports: [] }
      sink.putPod({ namespace: 'default', name: `client-${i}`, addresses: [clientAddress(i)], workload })
    }
    for (let n = 0; n < 50; n++) sink.putPolicy(policyOf(cluster, n))
  }
  const flows: Flow[] = Array.from({ length: 1000 }, (_, i) => ({
    ...flowTo(services[i % services.length], 0),
    client: { address: clientAddress(i), port: 1 },
  }))
  const without = await chainOf(services, 'round-robin', [])
  const withPolicy = await chainOf(services, 'round-robin', ['policy'], store)
  const pairs = Array.from({ length: rounds }, () => {
    const [a, b] = [measure(without, flows).ns, measure(withPolicy, flows).ns]
    return { a, b, more: b - a }
  })
  const refused = flows.filter(flow => withPolicy.choose(flow).refusal).length
  console.log(`choose without a plugin    ${median(pairs.map(({ a }) => a)).toFixed(0)} ns`)
  console.log(`choose with policy         ${median(pairs.map(({ b }) => b)).toFixed(0)} ns`)
  console.log(
    `policy, median of ${rounds} pairs  ${median(pairs.map(({ more }) => more)).toFixed(0)} ns (${refused} of ${flows.length} flows refused)`,
  )
  await afterChange(store, withPolicy, flows)
  await without.close()
  await withPolicy.close()
}

/** The first flow of each client after a change of a policy: at once, and once what is in use was decided again. */
async function afterChange(
  store: WorkloadStore,
  chain: Awaited<ReturnType<typeof chainOf>>,
  flows: Flow[],
): Promise<void> {
  const sink = store.sink('cluster-1')
  const firsts = async (waitMs: number): Promise<number> => {
    const costs = []
    for (let round = 0; round < rounds; round++) {
      sink.putPolicy({ ...policyOf('cluster-1', 0), name: `more-${waitMs}-${round}` })
      await new Promise(resolve => setTimeout(resolve, waitMs))
      const start = performance.now()
      for (const flow of flows) chain.choose(flow)
      costs.push(((performance.now() - start) * 1e3) / flows.length)
    }
    return median(costs)
  }
  const [cold, ahead] = [await firsts(0), await firsts(200)]
  console.log(
    `first flow of a client after a change  ${cold.toFixed(2)} us at once, ${ahead.toFixed(2)} us decided ahead`,
  )
}

function clientAddress(i: number): string {
  return `10.200.${i >> 8}.${i & 255}`
}

/** Half of the services allow half of the clients. */
function policyOf(cluster: string, n: number): PolicyObject {
  const from = Array.from({ length: 10 }, (_, i) => ({
    podSelector: { matchLabels: { app: `client-${(2 * i + (n >> 1)) % 20}` } },
  }))
  return {
    ...{
      cluster,
      kind: 'NetworkPolicy',
      apiVersion: 'networking.k8s.io/v1',
      namespace: 'default',
      name: `policy-${n}`,
    },
    ...{ annotations: {}, specs: undefined, origin: undefined },
    spec: { podSelector: { matchLabels: { app: `server-${n}` } }, ingress: [{ from, ports: [{ port: 8080 }] }] },
  }
}

/** As an API server has them. */
function* podsOf(kinds: number): Generator<ClusterObject> {
  for (let i = 0; i < 50_000; i++)
    yield decodeKubernetes(JSON.parse(podJson(i, kinds)), { workloads: true }).object as ClusterObject
}

/** As the etcd of another cluster has them: `identities/v1`, then `ip/v1`. */
function* recordsOf(kinds: number): Generator<ClusterObject> {
  const owner = { cluster: 'cluster-1', clusterId: 1 }
  const idOf = (kind: number) => (1 << 16) + kind
  for (let kind = 0; kind < kinds; kind++) {
    const labels = {
      ...{ ...labelsOf(kind), 'io.cilium.k8s.policy.cluster': 'cluster-1' },
      ...{ 'io.kubernetes.pod.namespace': `ns-${kind % 100}`, 'io.cilium.k8s.policy.serviceaccount': 'default' },
    }
    const text = Object.entries(labels).map(([key, value]) => `k8s:${key}=${value};`)
    yield decodeIdentity(String(idOf(kind)), Buffer.from(text.join('')), owner)
  }
  for (let i = 0; i < 50_000; i++) {
    const [kind, address] = [i % kinds, podAddress(i)]
    const record = {
      ...{ IP: address, Mask: null, HostIP: `172.20.0.${i & 255}`, ID: idOf(kind), K8sNamespace: `ns-${kind % 100}` },
      K8sPodName: `service-${kind}-6f9c-${i.toString(36)}`,
      NamedPorts: [{ Name: 'http', Port: 8080, Protocol: 'TCP' }],
    }
    yield* decodeAddress(address, Buffer.from(JSON.stringify(record)), owner)
  }
}

/** From what is read to the store, as a source delivers it. */
function memory(what: string, objects: Iterable<ClusterObject>): void {
  const before = heap()
  const assembler = new ServiceAssembler('cluster-1')
  const store = new WorkloadStore(run => run())
  store.setClusters(['cluster-1'])
  const start = performance.now()
  for (const object of objects) assembler.put(object)
  const sink = store.sink('cluster-1')
  assembler.reset({ ...sink, put() {}, drop() {}, live() {}, lost() {}, problems() {}, dropNode() {}, putNode() {} })
  for (let i = 0; i < 50_000; i++) store.at(podAddress(i))
  const ms = performance.now() - start
  const bytes = heap() - before
  console.log(
    `50,000 ${what}: ${(bytes / 1e6).toFixed(0)} MB, ${(bytes / 50_000).toFixed(0)} bytes each, read in ${ms.toFixed(0)} ms (${store.size.addresses} addresses)`,
  )
  silentLog.debug('kept', { assembler, store })
}

function heap(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function podAddress(i: number): string {
  return `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`
}

function labelsOf(kind: number): Record<string, string> {
  return {
    ...{
      'app.kubernetes.io/name': `service-${kind}`,
      'app.kubernetes.io/part-of': 'shop',
      'app.kubernetes.io/component': 'server',
    },
    ...{ 'pod-template-hash': `6f9c${kind.toString(16)}`, team: `team-${kind % 30}`, tier: 'backend' },
  }
}

function podJson(i: number, kinds: number): string {
  const kind = i % kinds
  const labels = labelsOf(kind)
  const metadata = {
    name: `service-${kind}-6f9c-${i.toString(36)}`,
    namespace: `ns-${kind % 100}`,
    labels,
    uid: `${i}`,
  }
  const ports = [
    { name: 'http', containerPort: 8080 },
    { name: 'metrics', containerPort: 9090 },
  ]
  const spec = { serviceAccountName: 'default', containers: [{ name: 'a', image: 'registry.example/a:1', ports }] }
  const status = {
    phase: 'Running',
    podIP: podAddress(i),
    podIPs: [{ ip: podAddress(i) }],
    hostIP: `172.20.${(i % 500) >> 8}.${i & 255}`,
  }
  return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec, status })
}
