/**
 * The records of one cluster in an etcd: a reader for each resource, all of them feeding one assembler. Services come from
 * service records, from EndpointSlices or from both, as the cluster announces; ServiceExports and nodes add to them.
 */
import { prefixOf, type Resource } from '../../clients/clustermesh.ts'
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import type { Subscription } from '../../clients/etcd/session.ts'
import type { Limits } from '../../model/cluster.ts'
import type { Sink } from '../../model/sink.ts'
import type { Clock } from '../../model/time/clock.ts'
import { TurnWork } from '../../model/time/turn.ts'
import { parseGateway } from '../../model/tunnel/gateway-address.ts'
import type { ClusterObject, DeclaredEndpoint, Kind } from '../objects.ts'
import { ServiceAssembler } from '../service-assembler.ts'
import type { Facts } from '../source.ts'
import { decodeNode, decodeServiceExport } from './decode-cilium.ts'
import { decodeAddress, decodeIdentity } from './decode-identities.ts'
import { decodeService } from './decode-service.ts'
import { decodeSlice } from './decode-slices.ts'
import { type Decoding, problemsOf, RecordReader } from './record-reader.ts'
import type { Owner } from './records.ts'

export interface ClusterRecordsOptions {
  readonly owner: Owner
  /** Whether the records are in the layout of a KVStoreMesh cache. */
  readonly cached: boolean
  /** Where a service has both, which of them has its endpoints; the other describes the rest of it. */
  readonly prefer: 'services' | 'slices'
  readonly sink: Sink
  readonly clock: Clock
  readonly limits?: Limits | undefined
  /** Whether addresses and identities may be wanted. */
  readonly workloads?: boolean | undefined
}

type Decoder = (
  suffix: string,
  value: Uint8Array,
  owner: Owner,
  before?: readonly DeclaredEndpoint[],
) => ClusterObject | readonly ClusterObject[] | Decoding

interface ResourceDecoder {
  readonly kinds: readonly Kind[]
  readonly decode: Decoder
}

const decoders = {
  services: { kinds: ['Service', 'Endpoints'], decode: decodeService },
  endpointslices: { kinds: ['EndpointSlice'], decode: decodeSlice },
  serviceexports: { kinds: ['ServiceExport'], decode: decodeServiceExport },
  nodes: { kinds: ['Node'], decode: decodeNode },
  identities: { kinds: ['Identity'], decode: decodeIdentity },
  ip: { kinds: ['Address'], decode: decodeAddress },
} as const satisfies Record<Resource, ResourceDecoder>

type Read = keyof typeof decoders
const resources = Object.keys(decoders) as Read[]

/** What is read only while it is wanted. */
const ofWorkloads: readonly Read[] = ['identities', 'ip']
/** So many services are assembled in one go; more of them in turns, before they are delivered. */
const atOnce = 50

/**
 * Outlives connections, and changes of what the cluster writes: a resource that it does not write any more stays as it was last
 * read until the first list of what it writes instead, so that no backend is gone in between.
 */
export class ClusterRecords {
  readonly #options: ClusterRecordsOptions
  readonly #assembler: ServiceAssembler
  readonly #readers: Readonly<Record<Read, RecordReader>>
  /** What the cluster writes, the main one first. */
  #followed: readonly Read[] = []
  /** Resources whose list is being read. A service may be in the rest of it: nothing is delivered until it is complete. */
  readonly #listing = new Set<Read>()
  #isMainListed = false
  /** Whether the sink has everything, and so takes changes. */
  #isDelivered = false
  /** While addresses and identities are wanted: those that have not been read yet, and who waits for them. */
  #workloads: { readonly missing: Set<Read>; readonly read: PromiseWithResolvers<void> } | undefined
  #isPreparing = false
  /** Changes are delivered in turns of their own: decoding them takes as long. */
  readonly #delivery = new TurnWork(() => {
    if (!this.#isClosed) this.#deliver()
  })
  #isClosed = false
  #losses = 0
  #reportedChanges = 0

  constructor(options: ClusterRecordsOptions) {
    this.#options = options
    this.#assembler = new ServiceAssembler(options.owner.cluster, {
      prefer: options.prefer === 'slices' ? 'slices' : 'lists',
      maxEndpoints: options.limits?.serviceEndpoints,
    })
    this.#readers = {
      services: this.#reader('services'),
      endpointslices: this.#reader('endpointslices'),
      serviceexports: this.#reader('serviceexports'),
      nodes: this.#reader('nodes'),
      identities: this.#reader('identities'),
      ip: this.#reader('ip'),
    }
  }

  get facts(): Pick<Facts, 'nodes' | 'serviceExports'> {
    return { nodes: this.#readers.nodes.size, serviceExports: this.#readers.serviceexports.size }
  }

  /** What to read of a cluster with this configuration. */
  subscribe(config: ClusterConfig): readonly [Subscription, ...Subscription[]] {
    const [main, ...others] = this.#resourcesOf(config)
    this.#assembler.setGateways(config.gateways.flatMap(text => parseGateway(text) ?? []))
    this.#followed = [main, ...others]
    if (this.#options.workloads && this.#workloads) this.#followed = [...this.#followed, ...ofWorkloads]
    this.#isMainListed = false
    this.#listing.clear()
    const onDemand = this.#options.workloads ? ofWorkloads : []
    return [
      { resource: main, listener: this.#readers[main] },
      ...others.map(resource => ({ resource, listener: this.#readers[resource], optional: true })),
      ...onDemand.map(resource => ({
        ...{ resource, listener: this.#readers[resource], optional: true },
        wanted: () => this.#workloads !== undefined,
      })),
    ]
  }

  /** Resolves when addresses and identities have been read, or are not wanted any more. */
  async followWorkloads(wanted: boolean): Promise<void> {
    if (!wanted) this.#forgetWorkloads()
    else if (!this.#workloads) {
      this.#workloads = { missing: new Set(ofWorkloads), read: Promise.withResolvers() }
      this.#followed = [...this.#followed, ...ofWorkloads]
    }
    await this.#workloads?.read.promise
  }

  #forgetWorkloads(): void {
    if (!this.#workloads) return
    this.#workloads.read.resolve()
    this.#workloads = undefined
    this.#followed = this.#followed.filter(resource => !ofWorkloads.includes(resource))
    for (const resource of ofWorkloads) this.#listing.delete(resource)
    this.#deliver()
  }

  close(): void {
    this.#workloads?.read.resolve()
    this.#isClosed = true
    for (const reader of Object.values(this.#readers)) reader.close()
  }

  /** The sink was told that the cluster cannot be read: it gets everything again. */
  lost(): void {
    this.#isDelivered = false
    this.#losses++
  }

  get #writesBoth(): boolean {
    return this.#followed.includes('services') && this.#followed.includes('endpointslices')
  }

  #resourcesOf({ slicesMode, serviceExports }: ClusterConfig): readonly [Read, ...Read[]] {
    const [main, other]: readonly [Read, Read] =
      slicesMode === 'endpointslices-only' || (slicesMode !== '' && this.#options.prefer === 'slices')
        ? ['endpointslices', 'services']
        : ['services', 'endpointslices']
    return [
      main,
      ...(slicesMode === 'services-and-endpointslices' ? [other] : []),
      'nodes',
      ...(serviceExports === undefined ? [] : ['serviceexports' as const]),
    ]
  }

  #reader(resource: Read): RecordReader {
    const { owner, cached, clock } = this.#options
    const isService = resource === 'services' || resource === 'endpointslices'
    const { kinds, decode }: ResourceDecoder = decoders[resource]
    return new RecordReader({
      prefix: prefixOf(resource, owner.cluster, cached),
      kinds,
      *decode(suffix, value, before) {
        const found = decode(suffix, value, owner, before)
        return 'next' in found ? yield* found : [found].flat()
      },
      assembler: this.#assembler,
      // Services do not wait for addresses that come later.
      started: () => {
        if (isService || !this.#isDelivered || !ofWorkloads.includes(resource)) this.#listing.add(resource)
      },
      listed: () => {
        this.#listing.delete(resource)
        if (resource === this.#followed[0]) this.#isMainListed = true
        this.#workloads?.missing.delete(resource)
        this.#deliver()
      },
      skipped: () => {
        this.#listing.delete(resource)
        this.#workloads?.missing.delete(resource)
        this.#deliver()
      },
      changed: () => this.#delivery.ask(),
      mayMove: () => isService && this.#writesBoth,
      clock,
    })
  }

  #deliver(): void {
    if (this.#listing.size > 0) return
    if (this.#isMainListed) this.#clearUnfollowed()
    if (this.#isDelivered) {
      if (!this.#assembler.flush(this.#options.sink, () => this.#delivery.isOver)) return this.#delivery.ask()
    } else if (!this.#isMainListed || this.#isPreparing) return
    else if (this.#assembler.waiting > atOnce) return void this.#prepare()
    else this.#assembler.reset(this.#options.sink)
    this.#isDelivered = true
    if (this.#workloads?.missing.size === 0) this.#workloads.read.resolve()
    this.#report()
  }

  /** Assembles in turns, and tries again. */
  async #prepare(): Promise<void> {
    const losses = this.#losses
    this.#isPreparing = true
    await this.#assembler.prepare()
    this.#isPreparing = false
    if (!this.#isClosed && losses === this.#losses) this.#deliver()
  }

  #clearUnfollowed(): void {
    for (const resource of resources) if (!this.#followed.includes(resource)) this.#readers[resource].clear()
  }

  #report(): void {
    const readers = Object.values(this.#readers)
    const changes = readers.reduce((sum, { faultChanges }) => sum + faultChanges, 0)
    if (changes === this.#reportedChanges) return
    this.#reportedChanges = changes
    this.#options.sink.problems(problemsOf(readers))
  }
}
