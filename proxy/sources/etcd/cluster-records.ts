/**
 * The records of one cluster in an etcd: a reader for each resource, all of them feeding one assembler. Services come from
 * service records or from EndpointSlices; ServiceExports and nodes add to them.
 */
import { prefixOf, type Resource } from '../../clients/clustermesh.ts'
import type { ClusterConfig } from '../../clients/etcd/cluster-config.ts'
import type { Subscription } from '../../clients/etcd/session.ts'
import type { Sink } from '../../model/sink.ts'
import type { ClusterObject, Kind } from '../objects.ts'
import { ServiceAssembler } from '../service-assembler.ts'
import type { Facts } from '../source.ts'
import { decodeNode, decodeService, decodeServiceExport } from './decode-cilium.ts'
import { decodeSlice } from './decode-slices.ts'
import { problemsOf, RecordReader } from './record-reader.ts'
import type { Owner } from './records.ts'

export interface ClusterRecordsOptions {
  readonly owner: Owner
  readonly config: ClusterConfig
  /** Read EndpointSlices instead of service records. */
  readonly slices: boolean
  readonly sink: Sink
}

type Decoder = (suffix: string, value: Uint8Array, owner: Owner) => ClusterObject | readonly ClusterObject[]

interface ResourceDecoder {
  readonly kinds: readonly Kind[]
  readonly decode: Decoder
}

const decoders = {
  services: { kinds: ['Service', 'Endpoints'], decode: decodeService },
  endpointslices: { kinds: ['EndpointSlice'], decode: decodeSlice },
  serviceexports: { kinds: ['ServiceExport'], decode: decodeServiceExport },
  nodes: { kinds: ['Node'], decode: decodeNode },
} as const satisfies Partial<Record<Resource, ResourceDecoder>>

export class ClusterRecords {
  readonly subscriptions: readonly [Subscription, ...Subscription[]]
  readonly #sink: Sink
  readonly #assembler: ServiceAssembler
  readonly #exports: RecordReader
  readonly #nodes: RecordReader
  readonly #readers: readonly RecordReader[]
  #isListed = false
  #reportedChanges = 0

  constructor({ owner, config: { cached, serviceExports }, slices, sink }: ClusterRecordsOptions) {
    this.#sink = sink
    this.#assembler = new ServiceAssembler(owner.cluster)
    const changed = () => this.#flush()
    const reader = (resource: keyof typeof decoders, listed = changed): RecordReader => {
      const { kinds, decode }: ResourceDecoder = decoders[resource]
      return new RecordReader({
        prefix: prefixOf(resource, owner.cluster, cached),
        kinds,
        decode: (suffix, value) => [decode(suffix, value, owner)].flat(),
        assembler: this.#assembler,
        listed,
        changed,
      })
    }
    const main = slices ? 'endpointslices' : 'services'
    const services = reader(main, () => this.#reset())
    this.#exports = reader('serviceexports')
    this.#nodes = reader('nodes')
    this.#readers = [services, this.#exports, this.#nodes]
    this.subscriptions = [
      { resource: main, listener: services },
      { resource: 'nodes', listener: this.#nodes, optional: true },
      ...(serviceExports === undefined
        ? []
        : [{ resource: 'serviceexports', listener: this.#exports, optional: true } as const]),
    ]
  }

  get facts(): Pick<Facts, 'nodes' | 'serviceExports'> {
    return { nodes: this.#nodes.size, serviceExports: this.#exports.size }
  }

  /** All services have been listed. */
  #reset(): void {
    this.#isListed = true
    this.#assembler.reset(this.#sink)
    this.#report()
  }

  /** Until all services have been listed, nothing is delivered. */
  #flush(): void {
    if (!this.#isListed) return
    this.#assembler.flush(this.#sink)
    this.#report()
  }

  #report(): void {
    const changes = this.#readers.reduce((sum, { faultChanges }) => sum + faultChanges, 0)
    if (changes === this.#reportedChanges) return
    this.#reportedChanges = changes
    this.#sink.problems(problemsOf(this.#readers))
  }
}
