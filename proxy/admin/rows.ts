/**
 * The services as rows of the web page: what its table shows of each, and after the first answer only the rows that have changed.
 * One list serves all browsers: what a browser has seen is a revision, which it sends with its next question.
 */
import { randomUUID } from 'node:crypto'
import type { ServiceView } from '../model/views.ts'
import type { Views } from './views.ts'

export interface ServiceRow extends Pick<ServiceView, 'namespace' | 'name' | 'condition' | 'headless' | 'frontends'> {
  /** By cluster: all backends, those that are active and not down or ejected, and those that get new flows. */
  readonly clusters: Readonly<Record<string, readonly [all: number, fit: number, selected: number]>>
  /** Of the backends. */
  readonly addresses: readonly string[]
}

/** The JSON of `/v1/rows`. */
export interface Rows {
  readonly revision: string
  /** The rows are all there are; what was known before is void. */
  readonly whole: boolean
  readonly rows: readonly ServiceRow[]
  /** `namespace/name` of services that are gone. */
  readonly gone: readonly string[]
}

interface Known {
  /** JSON of the row. */
  text: string
  row: ServiceRow
  revision: number
}

/** Of services that are gone; who has not asked for so long gets all rows anew. */
const maxGone = 1000

export class ServiceRows {
  /** Revisions of another process mean nothing here. */
  readonly #epoch = randomUUID().slice(0, 8)
  readonly #known = new Map<string, Known>()
  readonly #gone = new Map<string, number>()
  #revision = 0
  /** Changes up to this revision may have been forgotten. */
  #forgotten = 0

  /** The rows that have changed since a revision; all of them for one that is not known. */
  since(services: readonly ServiceView[], token: string | null): Rows {
    this.#update(services)
    const [epoch, number] = token?.split('.') ?? []
    const seen = epoch === this.#epoch && /^\d+$/.test(number ?? '') ? Number(number) : -1
    const whole = seen < this.#forgotten
    const rows = [...this.#known.values()].filter(({ revision }) => whole || revision > seen).map(({ row }) => row)
    const gone = whole ? [] : [...this.#gone].filter(([, revision]) => revision > seen).map(([key]) => key)
    return { revision: `${this.#epoch}.${this.#revision}`, whole, rows, gone }
  }

  #update(services: readonly ServiceView[]): void {
    const revision = this.#revision + 1
    let changed = false
    const left = new Set(this.#known.keys())
    for (const service of services) {
      const key = `${service.namespace}/${service.name}`
      left.delete(key)
      const row = rowOf(service)
      const text = JSON.stringify(row)
      if (this.#known.get(key)?.text === text) continue
      this.#known.set(key, { text, row, revision })
      this.#gone.delete(key)
      changed = true
    }
    for (const key of left) {
      this.#known.delete(key)
      this.#gone.delete(key)
      this.#gone.set(key, revision)
      changed = true
    }
    for (const [key, gone] of this.#gone) {
      if (this.#gone.size <= maxGone) break
      this.#gone.delete(key)
      this.#forgotten = gone
    }
    if (changed) this.#revision = revision
  }
}

function rowOf({ namespace, name, condition, headless, frontends, backends }: ServiceView): ServiceRow {
  const clusters: Record<string, [number, number, number]> = {}
  for (const { cluster, state, health, selected } of backends) {
    clusters[cluster] ??= [0, 0, 0]
    const counts = clusters[cluster]
    counts[0]++
    if (state === 'active' && (health === 'up' || health === 'unknown')) counts[1]++
    if (selected) counts[2]++
  }
  const addresses = [...new Set(backends.map(({ address }) => address))]
  return { namespace, name, condition, headless, frontends, clusters, addresses }
}

const lists = new WeakMap<Views, ServiceRows>()

/** The list of one set of views. */
export function rowsOf(views: Views): ServiceRows {
  const rows = lists.get(views) ?? new ServiceRows()
  lists.set(views, rows)
  return rows
}
