/** The conformance suite of sources: what a source must deliver to its sink. Run with a driver for each kind of source. */

import { isDeepStrictEqual } from 'node:util'
import type { Test } from 'tap'
import { MeshError, type Problem } from '../../proxy/model/error.ts'
import type { Node } from '../../proxy/model/location.ts'
import {
  type ClusterService,
  type Namespace,
  type Pod,
  type ServiceKey,
  serviceKey,
} from '../../proxy/model/service.ts'
import type { Sink, Snapshot } from '../../proxy/model/sink.ts'
import type { AddressRecord, NumberedIdentity, Workload } from '../../proxy/model/workloads/identity.ts'
import { type PolicyObject, policyText } from '../../proxy/model/workloads/policy-object.ts'
import type { Source } from '../../proxy/sources/source.ts'
import { eventually } from '../support/eventually.ts'

/** A service as the suite needs it; the driver writes it in the format of its system. One port named http, 80 to 8080. */
export interface Declared {
  readonly namespace: string
  readonly name: string
  readonly clusterIP: string
  readonly addresses: readonly string[]
}

export interface SourceDriver {
  /** Not started yet. */
  readonly source: Source
  /** Creates or replaces services in the outside system. */
  apply(...services: Declared[]): Promise<void>
  remove(service: Declared): Promise<void>
  /** Makes a service's object invalid, without an effect on others. */
  spoil(service: Declared): Promise<void>
  /** Makes the outside system unreachable, and reachable again. `apply` works in between. */
  break(): Promise<void>
  heal(): Promise<void>
}

/** A sink that records its calls, and every violation of the contract. */
export class RecordingSink implements Sink {
  /** `reset`, `put default/web`, `drop default/web`, `lost`, …, in order. */
  readonly calls: string[] = []
  readonly violations: string[] = []
  services = new Map<ServiceKey, ClusterService>()
  namespaces = new Map<string, Namespace>()
  /** Addresses by `NAMESPACE/NAME`. */
  pods = new Map<string, readonly string[]>()
  /** Not among the calls: what a source says of nodes reaches services by their zones. */
  nodes = new Map<string, Node>()
  /** Not among the calls either. By `refText`, address and number. */
  policies = new Map<string, PolicyObject>()
  addresses = new Map<string, AddressRecord>()
  identities = new Map<number, NumberedIdentity>()
  workloads = new Map<string, Workload | undefined>()
  problemList: readonly Problem[] = []
  link: 'syncing' | 'live' | 'lost' = 'syncing'
  error: MeshError | undefined
  isClosed = false

  reset({
    services,
    namespaces,
    pods = [],
    nodes = [],
    policies = [],
    addresses = [],
    identities = [],
  }: Snapshot): void {
    this.#note('reset')
    this.services = new Map(services.map(service => [keyOf(service), service]))
    this.namespaces = new Map(namespaces.map(namespace => [namespace.name, namespace]))
    this.pods = new Map(pods.map(pod => [serviceKey(pod.namespace, pod.name), pod.addresses]))
    this.nodes = new Map(nodes.map(node => [node.name, node]))
    this.workloads = new Map(pods.map(pod => [serviceKey(pod.namespace, pod.name), pod.workload]))
    this.policies = new Map(policies.map(policy => [policyText(policy), policy]))
    this.addresses = new Map(addresses.map(record => [record.address, record]))
    this.identities = new Map(identities.map(identity => [identity.id, identity]))
    if (this.services.size !== services.length) this.violations.push('a reset names a service twice')
    this.link = 'live'
  }

  put(service: ClusterService): void {
    this.#note(`put ${keyOf(service)}`, true)
    this.services.set(keyOf(service), service)
  }

  drop(namespace: string, name: string): void {
    const key = serviceKey(namespace, name)
    this.#note(`drop ${key}`, true)
    if (!this.services.delete(key)) this.violations.push(`drops ${key}, which it never delivered`)
  }

  putNode(node: Node): void {
    this.nodes.set(node.name, node)
  }

  dropNode(name: string): void {
    if (!this.nodes.delete(name)) this.violations.push(`drops node ${name}, which it never delivered`)
  }

  putNamespace(namespace: Namespace): void {
    this.#note(`put namespace ${namespace.name}`, true)
    this.namespaces.set(namespace.name, namespace)
  }

  dropNamespace(name: string): void {
    this.#note(`drop namespace ${name}`, true)
    if (!this.namespaces.delete(name)) this.violations.push(`drops namespace ${name}, which it never delivered`)
  }

  putPolicy(policy: PolicyObject): void {
    this.policies.set(policyText(policy), policy)
  }

  dropPolicy(policy: PolicyObject): void {
    if (!this.policies.delete(policyText(policy))) this.violations.push(`drops ${policyText(policy)} twice`)
  }

  putAddress(record: AddressRecord): void {
    this.addresses.set(record.address, record)
  }

  dropAddress({ address }: AddressRecord): void {
    if (!this.addresses.delete(address)) this.violations.push(`drops ${address} twice`)
  }

  putIdentity(identity: NumberedIdentity): void {
    this.identities.set(identity.id, identity)
  }

  dropIdentity({ id }: NumberedIdentity): void {
    if (!this.identities.delete(id)) this.violations.push(`drops identity ${id} twice`)
  }

  putPod({ namespace, name, addresses, workload }: Pod): void {
    const key = serviceKey(namespace, name)
    this.workloads.set(key, workload)
    this.#note(`put pod ${key}`, true)
    this.pods.set(key, addresses)
  }

  dropPod(namespace: string, name: string): void {
    const key = serviceKey(namespace, name)
    this.#note(`drop pod ${key}`, true)
    this.workloads.delete(key)
    if (!this.pods.delete(key)) this.violations.push(`drops pod ${key}, which it never delivered`)
  }

  live(): void {
    this.#note('live', true)
    this.link = 'live'
  }

  lost(error: MeshError): void {
    this.#note('lost')
    if (!(error instanceof MeshError) || error.message === '') this.violations.push('a loss without a reason')
    this.link = 'lost'
    this.error = error
  }

  problems(problems: readonly Problem[]): void {
    this.#note('problems')
    this.problemList = problems
  }

  /** The services it has, in the terms of the suite. */
  seen(): Declared[] {
    return sorted(
      [...this.services.values()].map(({ namespace, name, clusterIPs, endpoints }) => ({
        namespace,
        name,
        clusterIP: clusterIPs[0] ?? '',
        addresses: endpoints.map(({ address }) => address).sort(),
      })),
    )
  }

  /** The calls since this was last called. */
  news(): string[] {
    return this.calls.splice(0)
  }

  #note(call: string, needsReset = false): void {
    if (this.isClosed) this.violations.push(`${call} after close`)
    if (needsReset && this.link === 'syncing') this.violations.push(`${call} before the first reset`)
    this.calls.push(call)
  }
}

/** What is put takes its time. */
export class SlowSink extends RecordingSink {
  /** Milliseconds. */
  takes = 0
  /** Of them that took it. */
  #puts = 0

  override put(service: ClusterService): void {
    super.put(service)
    if (this.takes > 0) this.#puts++
    for (const end = performance.now() + this.takes; performance.now() < end; );
  }

  /** In how many rounds of the event loop so many are put. */
  async roundsOf(puts: number): Promise<number> {
    let rounds = 0
    for (const end = performance.now() + 10_000; this.#puts < puts && performance.now() < end; ) {
      const before = this.#puts
      await new Promise(resolve => setImmediate(resolve))
      if (this.#puts > before) rounds++
    }
    if (this.#puts !== puts) throw new Error(`${this.#puts} of ${puts} were put`)
    return rounds
  }
}

const web: Declared = {
  namespace: 'default',
  name: 'web',
  clusterIP: '10.96.0.10',
  addresses: ['10.0.0.1', '10.0.0.2'],
}
const api: Declared = { namespace: 'shop', name: 'api', clusterIP: '10.96.0.11', addresses: ['10.0.1.1'] }
const late: Declared = { namespace: 'default', name: 'late', clusterIP: '10.96.0.12', addresses: ['10.0.2.1'] }
const grown: Declared = { ...web, addresses: [...web.addresses, '10.0.0.3'] }

/** `open` starts an outside system that is reachable and has no services, and stops it when the test ends. */
export function examineSource(t: Test, open: (t: Test) => Promise<SourceDriver>): void {
  /** A source that is not started, and a sink for it. */
  const prepare = async (t: Test, ...services: Declared[]) => {
    const driver = await open(t)
    const sink = new RecordingSink()
    t.teardown(() => driver.source.close())
    await driver.apply(...services)
    return { driver, sink }
  }
  const start = async (t: Test, ...services: Declared[]) => {
    const { driver, sink } = await prepare(t, ...services)
    driver.source.start(sink)
    await until(() => sink.link === 'live', 'the source is live')
    t.same(sink.news(), ['reset'])
    return { driver, sink }
  }
  const sees = (sink: RecordingSink, ...services: Declared[]) =>
    until(
      () => isDeepStrictEqual(sink.seen(), sorted(services)),
      () => `sees ${JSON.stringify(sink.seen())}`,
    )

  t.test('the first delivery is everything at once', async t => {
    const { sink } = await start(t, web, api)
    t.same(sink.seen(), sorted([web, api]))
    const [service] = [...sink.services.values()].filter(({ name }) => name === 'web')
    t.match(service, {
      cluster: /^[a-z0-9-]+$/,
      ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      endpoints: [
        { ready: true, serving: true, terminating: false, ports: [{ name: 'http', port: 8080, protocol: 'TCP' }] },
        {},
      ],
    })
    t.same(sink.violations, [])
  })

  t.test('an empty system is delivered too', async t => {
    const { sink } = await start(t)
    t.same(sink.seen(), [])
  })

  t.test('a change delivers what has changed and nothing else', async t => {
    const { driver, sink } = await start(t, web, api)
    await driver.apply(grown)
    await sees(sink, grown, api)
    await driver.apply(late)
    await sees(sink, grown, api, late)
    await driver.apply({ ...api, addresses: [] })
    await sees(sink, grown, { ...api, addresses: [] }, late)
    await driver.remove(web)
    await sees(sink, { ...api, addresses: [] }, late)
    t.same(sink.news(), ['put default/web', 'put default/late', 'put shop/api', 'drop default/web'])
    t.same(sink.violations, [])
  })

  t.test('writing the same again is not a change', async t => {
    const { driver, sink } = await start(t, web, api)
    await driver.apply(web)
    await driver.apply(late)
    await sees(sink, web, api, late)
    t.same(sink.news(), ['put default/late'])
  })

  t.test('many changes at once end in the right state', async t => {
    const { driver, sink } = await start(t, web)
    const many = Array.from({ length: 40 }, (_, i) => ({
      ...late,
      name: `late-${i}`,
      clusterIP: `10.96.1.${i + 1}`,
      addresses: [`10.0.3.${i + 1}`],
    }))
    await driver.apply(...many)
    await Promise.all([...many.slice(0, 20).map(service => driver.remove(service)), driver.apply(grown)])
    await sees(sink, grown, ...many.slice(20))
    t.same(sink.violations, [])
  })

  t.test('an invalid object is a problem until it is fixed, and affects no other', async t => {
    const { driver, sink } = await start(t, web)
    await driver.spoil(late)
    await until(() => sink.problemList.length > 0, 'a problem is reported')
    for (const { code, where, message } of sink.problemList) {
      t.equal(code, 'SOURCE_OBJECT')
      t.not(where, '')
      t.match(message, /late/, 'the message names the object')
    }
    await driver.apply(api)
    await sees(sink, web, api)
    await driver.apply(late)
    await sees(sink, web, api, late)
    await until(() => sink.problemList.length === 0, 'the problem is withdrawn')
    t.same(sink.violations, [])
  })

  t.test('an unreachable system is lost once, and its services stay', async t => {
    const { driver, sink } = await start(t, web, api)
    await driver.break()
    await until(() => sink.link === 'lost', 'the loss is reported')
    t.equal(sink.error?.code, 'SOURCE_READ')
    t.same(sink.news(), ['lost'])
    await driver.heal()
    await until(() => sink.link === 'live', 'the recovery is reported')
    await sees(sink, web, api)
    t.same(sink.violations, [])
  })

  t.test('changes during a loss are delivered after it', async t => {
    const { driver, sink } = await start(t, web, api)
    await driver.break()
    await until(() => sink.link === 'lost', 'the loss is reported')
    await driver.apply(grown, late)
    await driver.remove(api)
    await driver.heal()
    await sees(sink, grown, late)
    await until(() => sink.link === 'live', 'the recovery is reported')
    await driver.apply(api)
    await sees(sink, grown, late, api)
    t.same(sink.violations, [], 'it follows again')
  })

  t.test('a system that is unreachable from the start is not empty', async t => {
    const { driver, sink } = await prepare(t, web)
    await driver.break()
    driver.source.start(sink)
    await until(() => sink.link === 'lost', 'the loss is reported')
    t.same(sink.news(), ['lost'])
    await driver.heal()
    await until(() => sink.link === 'live', 'the first delivery comes')
    t.same(sink.seen(), [web])
    t.same(sink.violations, [])
  })

  t.test('nothing is delivered after close', async t => {
    const { driver, sink } = await start(t, web)
    const closing = driver.apply(late).then(() => driver.source.close())
    await closing
    sink.isClosed = true
    await driver.apply(api)
    await driver.break()
    await pause()
    t.same(sink.violations, [])
  })

  t.test('it can be closed before its first delivery', async t => {
    const { driver, sink } = await prepare(t, web)
    driver.source.start(sink)
    await driver.source.close()
    sink.isClosed = true
    await driver.apply(late)
    await pause()
    t.same(sink.violations, [])
  })
}

function sorted(services: readonly Declared[]): Declared[] {
  return services.toSorted((a, b) => (`${a.namespace}/${a.name}` < `${b.namespace}/${b.name}` ? -1 : 1))
}

function keyOf({ namespace, name }: ClusterService): ServiceKey {
  return serviceKey(namespace, name)
}

/** Waits for a condition. */
export async function until(check: () => boolean, what: string | (() => string)): Promise<void> {
  await eventually(() => {
    if (!check()) throw new Error(`not yet: ${typeof what === 'string' ? what : what()}`)
  }, 15_000)
}

/** Long enough for a source to make a call that it must not make; no event marks the absence of one. */
function pause(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, 150))
}
