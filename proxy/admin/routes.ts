/** The routes of the admin API. */
import { canonicalAddress } from '../model/address.ts'
import { MeshError } from '../model/error.ts'
import type { FlowEvent } from '../model/flow-record.ts'
import { type Answer, type EventSink, type EventStream, fault, json, jsonList, text } from './answer.ts'
import { openMetricsType, wantsOpenMetrics } from './metrics/open-metrics.ts'
import { rowsSince, trafficSince } from './rows.ts'
import type { Views } from './views.ts'

interface Route {
  /** `{name}` matches one segment. */
  readonly path: string
  answer(request: ApiRequest): Answer | EventStream | Promise<Answer>
}

interface ApiRequest {
  readonly views: Views
  readonly page: Answer
  readonly query: URLSearchParams
  /** The types that the client takes. */
  readonly accept: string
  /** The segment that `{name}` matched. */
  part(name: string): string
  /** Of a POST request. */
  readonly body: string | undefined
}

/** The only path that takes a body, by POST. It changes nothing. */
export const rehearsePath = '/v1/rehearse'

const routes: readonly Route[] = [
  { path: '/', answer: ({ page }) => page },
  { path: '/healthz', answer: () => text(200, 'ok\n') },
  { path: '/readyz', answer: readiness },
  { path: '/metrics', answer: metrics },
  { path: '/v1/status', answer: status },
  { path: '/v1/rows', answer: ({ views, query }) => rowsSince(views, query.get('since')) },
  { path: '/v1/services', answer: ({ views }) => jsonList(texts(views.services())) },
  { path: '/v1/services/{namespace}/{name}', answer: service },
  { path: '/v1/explain/{namespace}/{name}', answer: explanation },
  { path: '/v1/dns', answer: nameExplanation },
  { path: '/v1/flows', answer: flows },
  { path: '/v1/traffic', answer: traffic },
  { path: rehearsePath, answer: rehearsal },
  { path: '/v1/config', answer: ({ views }) => json(200, views.config()) },
]

/** What an address for probes and scrapers alone answers: nothing that says more of the mesh than metrics do. */
const publicPaths: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics'])

/** Answers any request target. With `narrow`, only probes and metrics. Rejects only if a view throws. */
export async function answer(
  views: Views,
  page: Answer,
  target: string,
  {
    narrow = false,
    accept = '',
    body,
  }: {
    readonly narrow?: boolean | undefined
    readonly accept?: string
    readonly body?: string | undefined
  } = {},
): Promise<Answer | EventStream> {
  // A target that starts with two slashes is a path, not a host.
  const url = URL.parse(target.startsWith('/') ? `http://admin${target}` : target)
  const segments = url && decoded(url.pathname)
  if (!url || !segments) return fault(400, 'BAD_REQUEST', 'the request target is not a URL path')
  const offered = narrow ? routes.filter(({ path }) => publicPaths.has(path)) : routes
  for (const route of offered) {
    const parts = match(route.path, segments)
    if (parts)
      return route.answer({
        views,
        page,
        query: url.searchParams,
        accept,
        part: name => parts.get(name) ?? '',
        body,
      })
  }
  const known = offered.map(route => route.path).join(', ')
  return fault(404, 'NOT_FOUND', `${url.pathname} does not exist; the paths are ${known}`)
}

function readiness({ views, query }: ApiRequest): Answer {
  const { ready, stopping, handedOver, instance, waiting, unsafe } = views.ready()
  // On one node the old Pod answers for the new one until that has taken over.
  const wanted = query.get('instance')
  if (wanted !== null && wanted !== instance) return text(503, `this is ${instance ?? 'nameless'}, not ${wanted}\n`)
  // One that had come when the new process took over asks for whoever serves here.
  if (handedOver && wanted === null) return text(200, 'ready: another process serves\n')
  if (stopping) return text(503, `stopping, waiting for ${waiting.join(', ')}\n`)
  return ready
    ? text(200, ['ready', ...unsafe.map(line => `unsafe: ${line}`), ''].join('\n'))
    : text(503, `waiting for ${waiting.join(', ') || 'the start'}\n`)
}

async function status({ views }: ApiRequest): Promise<Answer> {
  await views.examine()
  return json(200, views.status())
}

async function* texts(items: Iterable<unknown> | AsyncIterable<unknown>): AsyncGenerator<string> {
  for await (const item of items) yield JSON.stringify(item)
}

async function metrics({ views, accept }: ApiRequest): Promise<Answer> {
  const open = wantsOpenMetrics(accept) ? views.openMetrics() : undefined
  if (open) return text(200, await open, openMetricsType)
  return text(200, await views.metrics(), 'text/plain; version=0.0.4; charset=utf-8')
}

function service({ views, part }: ApiRequest): Answer {
  return found(views.service(part('namespace'), part('name')), part)
}

function explanation({ views, part, query }: ApiRequest): Answer {
  const given = query.get('from') ?? ''
  const from = isPodName(given) ? views.addressOf(given) : clientIn(query)
  if (from === undefined && isPodName(given))
    return fault(
      400,
      'BAD_REQUEST',
      `no Pod ${given} is known; Pods are read only where a plugin such as policy needs them`,
    )
  if (from === null) return badAddress(query)
  return found(views.explain(part('namespace'), part('name'), from), part)
}

async function nameExplanation({ views, query }: ApiRequest): Promise<Answer> {
  const name = query.get('name')
  if (!name) return fault(400, 'BAD_REQUEST', 'name is missing; write name=rebel-base.default.svc.cluster.local')
  const from = clientIn(query)
  if (from === null) return badAddress(query)
  const explanation = await views.dns(name, query.get('type') ?? 'A', from)
  return explanation.rcode === 'FORMERR'
    ? fault(400, 'BAD_REQUEST', explanation.way.join('; '))
    : json(200, explanation)
}

/** One event to a line, or with `follow` a stream of them. */
function flows({ views, query, accept }: ApiRequest): Answer | EventStream {
  if (accept.includes('text/event-stream') && !query.has('follow')) query.set('follow', 'true')
  if (!['true', '1', ''].includes(query.get('follow') ?? 'false')) {
    const events = views.flows(query)
    if (typeof events === 'string') return fault(400, 'BAD_REQUEST', events)
    return text(200, events.map(event => `${JSON.stringify(event)}\n`).join(''), 'application/x-ndjson')
  }
  const wrong = views.follow(query, () => {})
  if (typeof wrong === 'string') return fault(400, 'BAD_REQUEST', wrong)
  wrong()
  return {
    start: sink => {
      const stop = views.follow(query, flowSender(sink))
      return typeof stop === 'string' ? () => {} : stop
    },
  }
}

/** What a client that does not keep up misses is counted, and told once it does. */
function flowSender(sink: EventSink): (events: readonly FlowEvent[]) => void {
  let missed = 0
  return events => {
    if (sink.isFull) {
      missed += events.length
      return
    }
    const [first] = events
    if (missed > 0 && first) {
      const { node_name, time } = first
      const lost: FlowEvent = {
        lost_events: { source: 'OBSERVER_EVENTS_QUEUE', num_events_lost: missed },
        node_name,
        time,
      }
      sink.send(eventText(lost))
      missed = 0
    }
    sink.send(events.map(eventText).join(''))
  }
}

function eventText(event: FlowEvent): string {
  return `event: ${'flow' in event ? 'flow' : 'lost'}\ndata: ${JSON.stringify(event)}\n\n`
}

/** With `since`, of the services only those that have changed; the first time any text is sent. */
function traffic({ views, query }: ApiRequest): Answer | Promise<Answer> {
  const since = query.get('since')
  return since === null ? json(200, views.traffic()) : trafficSince(views, since)
}

async function rehearsal({ views, body }: ApiRequest): Promise<Answer> {
  if (body === undefined) return fault(405, 'METHOD', `${rehearsePath} takes POST with a JSON body`, { allow: 'POST' })
  try {
    return json(200, await views.rehearse(JSON.parse(body)))
  } catch (error) {
    const isTheirs = error instanceof SyntaxError || (error instanceof MeshError && error.code === 'USAGE')
    if (!isTheirs) throw error
    return fault(400, 'BAD_REQUEST', error.message)
  }
}

/** The canonical address in `from`; undefined if there is none, null if it is not an address. */
function clientIn(query: URLSearchParams): string | undefined | null {
  const given = query.get('from')
  return given === null ? undefined : (canonicalAddress(given) ?? null)
}

/** `NAMESPACE/POD` */
function isPodName(text: string): boolean {
  return /^[a-z0-9-]{1,63}\/[a-z0-9.-]{1,253}$/.test(text)
}

function badAddress(query: URLSearchParams): Answer {
  return fault(400, 'BAD_REQUEST', `from=${query.get('from')} is not an IP address; write from=10.0.0.7`)
}

function found(view: object | undefined, part: ApiRequest['part']): Answer {
  if (view !== undefined) return json(200, view)
  return fault(404, 'NOT_FOUND', `there is no service ${part('namespace')}/${part('name')}; see /v1/services`)
}

function decoded(path: string): string[] | undefined {
  try {
    return path.slice(1).split('/').map(decodeURIComponent)
  } catch {
    return undefined
  }
}

function match(path: string, segments: readonly string[]): ReadonlyMap<string, string> | undefined {
  const wanted = path.slice(1).split('/')
  if (wanted.length !== segments.length) return undefined
  const parts = new Map<string, string>()
  for (const [i, want] of wanted.entries()) {
    const segment = segments[i] ?? ''
    if (want.startsWith('{')) parts.set(want.slice(1, -1), segment)
    else if (want !== segment) return undefined
  }
  return parts
}
