/** Which flows somebody wants to see. The same words on the command line and in `/v1/flows`; all that are given must hold. */
import { type Cidr, canonicalAddress, parseCidr } from '../model/address.ts'
import { type FlowEndpoint, type FlowKind, type FlowOutcome, flowOutcomes } from '../model/flow-record.ts'
import { didYouMean } from '../model/text/spelling.ts'

/** What a filter looks at, of one flow or question. */
export interface FlowFacts {
  readonly kind: FlowKind
  readonly outcome: FlowOutcome
  readonly client: string
  /** `namespace/name` */
  readonly service: string | undefined
  /** `10.96.0.1:80/TCP` */
  readonly frontend: string | undefined
  /** Of the backend, and its address. */
  readonly key: string | undefined
  readonly backend: string | undefined
  readonly cluster: string | undefined
  /** Code of the refusal. */
  readonly code: string | undefined
}

/** What is known of addresses; asked only by filters that name a pod. */
export interface FlowNames {
  ofClient(address: string): FlowEndpoint | undefined
  ofBackend(key: string, address: string): FlowEndpoint | undefined
}

export type FlowFilter = (facts: FlowFacts, names: FlowNames) => boolean

export interface FlowQuery {
  readonly matches: FlowFilter
  /** The last so many; undefined: as many as there are, with `sinceMs`, else 20. */
  readonly last: number | undefined
  /** Only those that began within so many milliseconds. */
  readonly sinceMs: number | undefined
  readonly follow: boolean
  /** With `follow`: open flows also come again, about once a second, while bytes pass. */
  readonly progress?: boolean
}

const kinds: readonly FlowKind[] = ['connection', 'session', 'question']
const known = [
  'service',
  'from',
  'to',
  'cluster',
  'verdict',
  'kind',
  'dns',
  'code',
  'last',
  'since',
  'follow',
  'progress',
]

/** A text is what is wrong with the query, and how to write it. */
export function parseFlowQuery(query: URLSearchParams): FlowQuery | string {
  const unknown = [...query.keys()].find(name => !known.includes(name))
  if (unknown !== undefined)
    return `${unknown} is not a filter of flows${didYouMean(unknown, known)}; they are ${known.join(', ')}`
  const filters: FlowFilter[] = []
  for (const name of ['service', 'from', 'to', 'cluster', 'verdict', 'kind', 'code'] as const) {
    // Several values of one filter are alternatives.
    const values = query
      .getAll(name)
      .flatMap(text => text.split(','))
      .filter(text => text !== '')
    if (values.length === 0) continue
    const any = values.map(value => parsers[name](value))
    const wrong = any.find(filter => typeof filter === 'string')
    if (wrong !== undefined) return wrong
    filters.push((facts, names) => any.some(filter => (filter as FlowFilter)(facts, names)))
  }
  const flags = ['dns', 'follow', 'progress'].map(name => flag(query, name))
  const [dns, follow, progress] = flags
  if (dns === undefined || follow === undefined || progress === undefined)
    return 'dns, follow and progress are true or false'
  if (dns) filters.push(({ kind }) => kind === 'question')
  const last = number(query.get('last'))
  if (Number.isNaN(last)) return `last=${query.get('last')} is not a number of flows; write last=100`
  const sinceMs = span(query.get('since'))
  if (Number.isNaN(sinceMs)) return `since=${query.get('since')} is not a duration; write since=5m`
  return { matches: (facts, names) => filters.every(filter => filter(facts, names)), last, sinceMs, follow, progress }
}

const parsers = {
  service: (text: string): FlowFilter => {
    const [namespace, name] = text.includes('/') ? text.split('/') : ['default', text]
    if (name === '*' || name === '') return ({ service }) => service?.startsWith(`${namespace}/`) ?? false
    return ({ service }) => service === `${namespace}/${name}`
  },
  from: (text: string): FlowFilter | string => {
    const range = addresses(text)
    if (range) return ({ client }) => range(client)
    const pod = podFilter(text)
    return pod ? ({ client }, names) => pod(names.ofClient(client)) : notAPlace('from', text)
  },
  to: (text: string): FlowFilter | string => {
    const range = addresses(text)
    if (range) {
      return ({ backend, frontend }) =>
        (backend !== undefined && range(backend)) || (frontend !== undefined && range(hostOf(frontend)))
    }
    const pod = podFilter(text)
    if (!pod) return notAPlace('to', text)
    return ({ key, backend }, names) => key !== undefined && backend !== undefined && pod(names.ofBackend(key, backend))
  },
  cluster:
    (text: string): FlowFilter =>
    ({ cluster }) =>
      cluster === text,
  verdict: (text: string): FlowFilter | string => {
    const words: Readonly<Record<string, FlowOutcome>> = { dropped: 'refused', error: 'failed' }
    const wanted = words[text.toLowerCase()] ?? (text.toLowerCase() as FlowOutcome)
    if (!flowOutcomes.includes(wanted)) {
      return `verdict=${text} is not one${didYouMean(text, flowOutcomes)}; write ${flowOutcomes.join(', ')}`
    }
    return ({ outcome }) => outcome === wanted
  },
  kind: (text: string): FlowFilter | string =>
    kinds.includes(text as FlowKind)
      ? ({ kind }) => kind === text
      : `kind=${text} is not one; write ${kinds.join(', ')}`,
  code:
    (text: string): FlowFilter =>
    ({ code }) =>
      code === text,
} as const

/** One address, or a range of them. */
function addresses(text: string): ((address: string) => boolean) | undefined {
  const one = canonicalAddress(text)
  if (one !== undefined) return address => address === one
  const range: Cidr | undefined = text.includes('/') ? parseCidr(text) : undefined
  return range && (address => range.contains(address))
}

/** `namespace/prefix-of-a-pod`, or `namespace/` for all of it, as Hubble has it. */
function podFilter(text: string): ((end: FlowEndpoint | undefined) => boolean) | undefined {
  if (!/^[a-z0-9.-]*(\/[a-z0-9.-]*)?$/.test(text) || text === '') return undefined
  const prefix = text.includes('/') ? text : `default/${text}`
  return end => end?.pod_name !== undefined && `${end.namespace}/${end.pod_name}`.startsWith(prefix)
}

function notAPlace(name: string, text: string): string {
  return `${name}=${text} is neither an address, a range nor a pod; write 10.0.0.7, 10.0.0.0/24, NAMESPACE/ or NAMESPACE/POD`
}

function hostOf(frontend: string): string {
  return frontend.replace(/:\d+\/\w+$/, '').replace(/^\[(.*)\]$/, '$1')
}

function flag(query: URLSearchParams, name: string): boolean | undefined {
  const text = query.get(name)
  if (text === null || text === 'false' || text === '0') return false
  return text === '' || text === 'true' || text === '1' ? true : undefined
}

function number(text: string | null): number | undefined {
  return text === null ? undefined : /^\d{1,7}$/.test(text) ? Number(text) : Number.NaN
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function span(text: string | null): number | undefined {
  if (text === null) return undefined
  const [, amount, unit = ''] = /^(\d{1,6})(ms|s|m|h|d)$/.exec(text) ?? []
  return amount === undefined ? Number.NaN : Number(amount) * (units[unit] ?? 0)
}
